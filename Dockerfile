# The image of shipper: `docker build -t shipper .`; docs/operations.md says how to run it.
# Both stages use one base, so that the environment built in the first finds its interpreter in the second.
ARG PYTHON=3.11

# --- all that is needed to build, and left behind -----------------------------------------------------------------------
FROM python:${PYTHON}-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /build
COPY locks/runtime.txt locks/build.txt locks/

# The packages first: this layer changes with the lock file only. Wheels only, so nothing is compiled here.
RUN python -m venv --without-pip /opt/shipper \
    && pip --python /opt/shipper/bin/python install --require-hashes --only-binary :all: -r locks/runtime.txt

# What builds the wheel (hatchling) comes from a lock file too: `pip` would otherwise fetch it unchecked.
RUN python -m venv /opt/tools \
    && /opt/tools/bin/pip install --require-hashes --only-binary :all: -r locks/build.txt

COPY pyproject.toml README.md LICENSE ./
COPY shipper shipper
COPY clients/python clients/python
RUN /opt/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheel . ./clients/python \
    && pip --python /opt/shipper/bin/python install --no-deps --no-index wheel/*.whl \
    && /opt/shipper/bin/python -m compileall -q /opt/shipper/lib

# --- what runs ----------------------------------------------------------------------------------------------------------
FROM python:${PYTHON}-slim-bookworm

# Nothing in here installs anything any more.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip setuptools wheel

COPY --from=build /opt/shipper /opt/shipper
COPY config.toml /etc/shipper/config.toml

# Nothing is written at run time: counters live in anonymous memory, offsets in Kafka. `--read-only` needs no volume.
# In a container the status endpoint must answer to the outside, so this wins over status.listen in a file.
ENV PATH=/opt/shipper/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SHIPPER_CONFIG=/etc/shipper/config.toml \
    SHIPPER_STATUS__LISTEN=0.0.0.0:9600

# By number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 10001:10001
WORKDIR /etc/shipper
EXPOSE 9600

# The supervisor drains on it. Give it longer than workers.drain_timeout_s: `docker stop --time 60`.
STOPSIGNAL SIGTERM

# Alive, not ready: a shipper that waits for Loki is well, and must not be restarted for it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9600/healthz', timeout=4)"]

ENTRYPOINT ["shipper"]
CMD ["run"]

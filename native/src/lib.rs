//! The two stages of `prepare()` that cost the most, for the common form of records: values into columns, and columns
//! into entries. What is of another form is handed back; shipper/native/stages.py gives it to the Python path.

mod arrow;
mod entries;
mod json;
mod time;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, Int64Array};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use arrow::Frame;
use entries::{Entry, Pairs};
use json::{Node, Text};
use time::Forms;

/// Where strings of more than 12 bytes lie; as large as they become.
const BLOCK_BYTES: u32 = 256 * 1024;

/// A row whose timestamp is of no common form, and its text.
type OddTime = (usize, String);

/// Reads the named fields of JSON values.
#[pyclass(frozen)]
struct Scanner {
    paths: Vec<String>,
    root: Node,
    texts: Vec<usize>,
    times: Vec<usize>,
    forms: Forms,
}

#[pymethods]
impl Scanner {
    /// Args: field paths that are wanted as text; those that may hold the timestamp; which of its forms to look for.
    #[new]
    fn new(texts: Vec<String>, times: Vec<String>, rfc3339: bool, epoch: bool) -> PyResult<Self> {
        let mut paths: Vec<String> = texts.iter().chain(&times).cloned().collect();
        paths.sort();
        paths.dedup();
        let root = Node::new(&paths).ok_or_else(|| PyValueError::new_err("a path is the parent of another"))?;
        let columns = |some: Vec<String>| some.iter().filter_map(|path| paths.binary_search(path).ok()).collect();
        Ok(Scanner { root, texts: columns(texts), times: columns(times), forms: Forms { rfc3339, epoch }, paths })
    }

    /// Returns a frame of the texts, in their order, of `ns` and `digits` of the timestamp, and of the lengths; the rows that
    /// are of no common form, which are null in the frame; and those of which only the timestamp is.
    fn scan(&self, py: Python<'_>, values: &Bound<'_, PyList>) -> PyResult<(Frame, Vec<usize>, Vec<OddTime>)> {
        let values: Vec<_> = values.iter().map(|value| value.cast_into::<PyBytes>().ok()).collect();
        let values: Vec<_> =
            values.iter().map(|value| value.as_ref().map_or(&[][..], |value| value.as_bytes())).collect();
        let scanned = guarded(|| Ok(py.detach(|| self.scan_all(&values))))?;
        Ok((arrow::frame(scanned.columns)?, scanned.unsure, scanned.odd_times))
    }
}

struct Scanned {
    columns: Vec<ArrayRef>,
    unsure: Vec<usize>,
    odd_times: Vec<OddTime>,
}

impl Scanner {
    fn scan_all(&self, values: &[&[u8]]) -> Scanned {
        let builder = || StringViewBuilder::with_capacity(values.len()).with_fixed_block_size(BLOCK_BYTES);
        let mut builders: Vec<_> = self.texts.iter().map(|_| builder()).collect();
        let (mut ns, mut digits) = (Vec::with_capacity(values.len()), Vec::with_capacity(values.len()));
        let mut fields: Vec<Text> = vec![None; self.paths.len()];
        let (mut unsure, mut odd_times) = (Vec::new(), Vec::new());
        for (row, value) in values.iter().enumerate() {
            if json::scan(value, &self.root, &mut fields).is_none() {
                unsure.push(row);
                fields.fill(None);
            }
            let time = self.times.iter().find_map(|column| fields[*column].as_deref());
            let parsed = time.and_then(|text| self.forms.parse(text));
            if let (Some(text), None) = (time, parsed) {
                odd_times.push((row, text.to_owned()));
            }
            let (time_ns, time_digits) = parsed.unwrap_or((0, -1));
            ns.push(time_ns);
            digits.push(time_digits);
            for (builder, column) in builders.iter_mut().zip(&self.texts) {
                builder.append_option(fields[*column].as_deref());
            }
        }
        let bytes = values.iter().map(|value| value.len() as i64).collect();
        let texts = builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
        let numbers = [ns, digits, bytes].map(|numbers| Arc::new(Int64Array::from(numbers)) as ArrayRef);
        Scanned { columns: texts.chain(numbers).collect(), unsure, odd_times }
    }
}

/// Writes entries in their order, one after the other.
///
/// Args: lines and timestamps, by row of the batch; the row of each entry; structured metadata, in one chunk; which row of
/// that each entry has. Returns the entries, and where each begins and the last one ends, as 64-bit integers.
#[pyfunction]
fn encode<'py>(
    py: Python<'py>,
    lines: &Bound<'py, PyList>,
    timestamp_ns: PyBuffer<i64>,
    rows: PyBuffer<i64>,
    metadata: &Bound<'py, PyAny>,
    order: PyBuffer<i64>,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let (timestamp_ns, rows, order) = (timestamp_ns.to_vec(py)?, rows.to_vec(py)?, order.to_vec(py)?);
    let picked = rows.iter().map(|row| Ok(lines.get_item(*row as usize)?.cast_into::<PyBytes>()?));
    let picked = picked.collect::<PyResult<Vec<_>>>()?;
    let metadata = arrow::read(metadata)?;
    let schema = metadata.schema();
    let columns = schema.fields().iter().zip(metadata.columns()).map(|(field, column)| {
        let values = column.as_string_view_opt().ok_or_else(|| PyValueError::new_err("metadata is text"))?;
        Ok(Pairs { name: field.name(), values })
    });
    let columns = columns.collect::<PyResult<Vec<_>>>()?;
    guarded(|| {
        let entries = picked.iter().zip(&rows).zip(&order).map(|((line, row), place)| Entry {
            line: line.as_bytes(),
            timestamp_ns: timestamp_ns[*row as usize] as u64,
            row: *place as usize,
        });
        let entries: Vec<_> = entries.collect();
        let positions = py.detach(|| entries::positions(&entries, &columns));
        let bytes = positions.last().map_or(0, |end| *end as usize);
        let encoded = PyBytes::new_with(py, bytes, |out| {
            py.detach(|| entries::write(&entries, &columns, &positions, out));
            Ok(())
        })?;
        let positions: Vec<_> = positions.iter().flat_map(|position| position.to_ne_bytes()).collect();
        Ok((encoded, PyBytes::new(py, &positions)))
    })
}

/// Makes an exception of a panic: one that costs a record, as any other mistake of ours, and not the process.
fn guarded<T>(stage: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(stage)).unwrap_or_else(|cause| {
        let words = cause.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no words");
        Err(PyRuntimeError::new_err(format!("shipper-native panicked: {words}")))
    })
}

#[pymodule]
fn shipper_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<Scanner>()?;
    module.add_function(wrap_pyfunction!(encode, module)?)
}

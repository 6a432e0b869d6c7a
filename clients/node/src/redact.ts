// What must not leave the process: by the names of members, and by patterns in texts.
//
// The rules are docs/log-format.md's, "Redaction", in its order. The redactors that are kept well (fast-redact,
// @pinojs/redact) take paths that are known beforehand, and no patterns; the contract has neither.

export const REDACTED = "[redacted]";

const ENDINGS = [
  ...["password", "passwd", "passphrase", "secret", "token", "apikey", "privatekey", "accesskey", "authorization"],
  ...["cookie", "credentials", "cardnumber"],
];
const WHOLE = new Set(["pwd", "pin", "otp", "cvv", "cvc", "ssn", "jwt", "auth", "sessionid"]);

const JWT = /(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*eyJ)[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*/g;
const CREDENTIALS = /\b(bearer|basic)[ \t\n\r\f\v]+[A-Za-z0-9._~+/=-]{8,}/gi;
const ADDRESS = /:\/\/[^/ \t\n\r\f\v:@]*:[^/ \t\n\r\f\v@]+@/g;
const QUOTED =
  /((?:password|passwd|secret|token|api_?key)["']?[ \t\n\r\f\v]*[=:][ \t\n\r\f\v]*)(?:(")[^"]+|(')[^']+)/gi;
const ASSIGNED = /((?:password|passwd|secret|token|api_?key)=)[^& \t\n\r\f\v"']+/gi;
const HEX = "[0-9A-Fa-f]";
const UUID = `${HEX}{8}-${HEX}{4}-[1-8]${HEX}{3}-[89ABab]${HEX}{3}-${HEX}{12}`;
const ID = `(?:${UUID}|(?=[0-9]{0,31}[A-Fa-f])${HEX}{32})(?![0-9A-Za-z])`;
const RUN = /[0-9](?:[ -]?[0-9]){12}/;
const RUN_OR_ID = new RegExp(`(?<![0-9A-Za-z])${ID}|([0-9](?:(?:[ -](?!${ID}))?[0-9]){12,})`, "g");
const EMAIL = /(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}/g;

// Without one of these, no pattern but that of e-mail addresses finds anything: most texts are looked at once.
const PERHAPS = /eyJ|:\/\/|[=:]|[0-9](?:[ -]?[0-9]){12}|bearer|basic/i;

const CARD_DIGITS_MIN = 13;
const CARD_DIGITS_MAX = 19;
const KEPT_CHARS_MAX = 64;
const KEPT_TEXTS = 4_096;

/** Takes secrets out; remembers short texts and names that it has seen. */
export class Redaction {
  readonly #endings: readonly string[];
  readonly #emails: boolean;
  readonly #seen = new Map<string, string>();
  readonly #secret = new Map<string, boolean>();

  constructor(names: readonly string[] = [], emails = false) {
    this.#endings = [...ENDINGS, ...names.map(compared).filter((name) => name !== "")];
    this.#emails = emails;
  }

  /** Whether the value of a member of this name is a secret. */
  isSecret(name: string): boolean {
    let known = this.#secret.get(name);
    if (known === undefined) {
      const plain = compared(name);
      known = WHOLE.has(plain) || this.#endings.some((ending) => plain.endsWith(ending));
      remember(this.#secret, name, known);
    }
    return known;
  }

  /** The text without its secrets. */
  text(text: string): string {
    if (text.length > KEPT_CHARS_MAX) return this.#redacted(text);
    let known = this.#seen.get(text);
    if (known === undefined) {
      known = this.#redacted(text);
      remember(this.#seen, text, known);
    }
    return known;
  }

  #redacted(text: string): string {
    let left = text;
    if (PERHAPS.test(text)) {
      left = left
        .replace(JWT, REDACTED)
        .replace(CREDENTIALS, `$1 ${REDACTED}`)
        .replace(ADDRESS, `://${REDACTED}@`)
        .replace(QUOTED, `$1$2$3${REDACTED}`)
        .replace(ASSIGNED, `$1${REDACTED}`);
      if (RUN.test(left))
        left = left.replace(RUN_OR_ID, (found: string, run?: string) => (run ? withoutCards(run) : found));
    }
    return this.#emails ? left.replace(EMAIL, REDACTED) : left;
  }
}

/** Whether a text, as a whole, is a card's number without spaces. */
export function isCard(digits: string): boolean {
  if (digits.length < CARD_DIGITS_MIN || digits.length > CARD_DIGITS_MAX || !/^[0-9]+$/.test(digits)) return false;
  return cards(digits).some(([start, end]) => start === 0 && end === digits.length);
}

function withoutCards(run: string): string {
  let kept = "";
  let position = 0;
  for (const [start, end] of cards(run)) {
    kept += run.slice(position, start) + REDACTED;
    position = end;
  }
  return kept + run.slice(position);
}

/**
 * Where card numbers stand in a run of groups of digits: from the left, the longest first, whole groups.
 *
 * Luhn's sum of any part is the difference of two sums from the run's beginning; there are two of each, because it
 * depends on the part's end which digits count twice.
 */
function cards(run: string): [number, number][] {
  const sums = luhnSums(run);
  const groups = [...run.matchAll(/[0-9]+/g)].map((match) => ({ at: match.index, length: match[0].length }));
  const before = [0];
  for (const group of groups) before.push((before.at(-1) ?? 0) + group.length);

  const digitsUpTo = (group: number): number => before[group] ?? 0;
  const passes = (start: number, end: number): boolean => {
    const luhn = sums[end % 2] ?? [];
    return ((luhn[end] ?? 0) - (luhn[start] ?? 0)) % 10 === 0;
  };
  const found: [number, number][] = [];
  let first = 0;
  while (first < groups.length) {
    const start = digitsUpTo(first);
    const at = groups[first]?.at ?? 0;
    let next = first + 1;
    let last = first;
    while (last < groups.length && digitsUpTo(last + 1) - start <= CARD_DIGITS_MAX) last += 1;
    for (; last > first && digitsUpTo(last) - start >= CARD_DIGITS_MIN; last -= 1) {
      if ("23456".includes(run.charAt(at)) && passes(start, digitsUpTo(last))) {
        const group = groups[last - 1];
        found.push([at, (group?.at ?? 0) + (group?.length ?? 0)]);
        next = last;
        break;
      }
    }
    first = next;
  }
  return found;
}

function luhnSums(run: string): [number[], number[]] {
  const sums: [number[], number[]] = [[0], [0]];
  let index = 0;
  let even = 0;
  let odd = 0;
  for (const character of run) {
    if (character === " " || character === "-") continue;
    const digit = Number(character);
    const twice = digit > 4 ? digit * 2 - 9 : digit * 2;
    even += index % 2 === 0 ? twice : digit;
    odd += index % 2 === 1 ? twice : digit;
    sums[0].push(even);
    sums[1].push(odd);
    index += 1;
  }
  return sums;
}

function compared(name: string): string {
  return name.toLowerCase().replace(/[_\-. ]/g, "");
}

function remember<Known>(cache: Map<string, Known>, text: string, known: Known): void {
  if (text.length > KEPT_CHARS_MAX) return;
  if (cache.size >= KEPT_TEXTS) cache.clear();
  cache.set(text, known);
}

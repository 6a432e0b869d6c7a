//! A strict scanner of the common form of JSON: it is sure, or it says nothing.

use std::borrow::Cow;

/// Deeper values are somebody else's to judge, and longer numbers too.
const DEPTH_MAX: u32 = 64;
const NUMBER_BYTES_MAX: usize = 300;

/// A field's text; none where it is absent or null.
pub type Text<'a> = Option<Cow<'a, str>>;
/// None where the value is of no common form.
pub type Sure<T> = Option<T>;

/// The named fields as a tree: a field without children is read, one with children is gone into.
#[derive(Default)]
pub struct Node {
    fields: Vec<(Vec<u8>, Field)>,
    /// Bit n is set where a field's name has n bytes, bit 63 for longer ones.
    lengths: u64,
}

enum Field {
    Leaf(usize),
    /// The columns below it, which stand together: they share the beginning of their paths.
    Inner(Node, std::ops::Range<usize>),
}

impl Node {
    /// Builds the tree of paths in sorted order; column `i` is that of path `i`. None if one is the parent of another.
    pub fn new(paths: &[String]) -> Option<Node> {
        let mut root = Node::default();
        for (column, path) in paths.iter().enumerate() {
            root.add(path, column)?;
        }
        Some(root)
    }

    fn add(&mut self, path: &str, column: usize) -> Option<()> {
        let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
        self.lengths |= bit(key.as_bytes());
        let known = self.fields.iter_mut().find(|(name, _)| name == key.as_bytes());
        match (known, rest) {
            (None, None) => self.fields.push((key.into(), Field::Leaf(column))),
            (None, Some(rest)) => {
                let mut inner = Node::default();
                inner.add(rest, column)?;
                self.fields.push((key.into(), Field::Inner(inner, column..column + 1)));
            }
            (Some((_, Field::Inner(inner, columns))), Some(rest)) => {
                inner.add(rest, column)?;
                columns.end = column + 1;
            }
            _ => return None,
        }
        Some(())
    }

    #[inline(always)]
    fn find(&self, key: &[u8]) -> Option<&Field> {
        if self.lengths & bit(key) == 0 {
            return None;
        }
        self.fields.iter().find(|(name, _)| name == key).map(|(_, field)| field)
    }
}

fn bit(key: &[u8]) -> u64 {
    1 << key.len().min(63)
}

/// Fills `texts` with the named fields of a value, if that is surely an object.
pub fn scan<'a>(value: &'a [u8], root: &Node, texts: &mut [Text<'a>]) -> Sure<()> {
    let text = simdutf8::basic::from_utf8(value).ok()?;
    texts.fill(None);
    let mut scanner = Scanner { text, bytes: value, at: 0 };
    scanner.space();
    if scanner.next()? != b'{' {
        return None;
    }
    scanner.object(root, texts, 1)?;
    scanner.space();
    (scanner.at == value.len()).then_some(())
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    #[inline(always)]
    fn peek(&self) -> Sure<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline(always)]
    fn next(&mut self) -> Sure<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline(always)]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Reads what is left of an object behind its brace.
    fn object(&mut self, node: &Node, texts: &mut [Text<'a>], depth: u32) -> Sure<()> {
        self.space();
        if depth > DEPTH_MAX {
            return None;
        }
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            if self.next()? != b'"' {
                return None;
            }
            let begin = self.at;
            let has_escapes = self.string()?;
            if has_escapes && node.lengths != 0 {
                return None;
            }
            let field = node.find(&self.bytes[begin..self.at - 1]);
            self.space();
            if self.next()? != b':' {
                return None;
            }
            self.space();
            match field {
                None => self.skip(depth)?,
                Some(Field::Leaf(column)) => texts[*column] = self.leaf()?,
                Some(Field::Inner(inner, columns)) => {
                    texts[columns.clone()].fill(None);
                    if self.peek()? == b'{' {
                        self.at += 1;
                        self.object(inner, texts, depth + 1)?;
                    } else {
                        self.leaf()?;
                    }
                }
            }
            self.space();
            match self.next()? {
                b',' => self.space(),
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Reads what is left of an array behind its bracket.
    fn array(&mut self, depth: u32) -> Sure<()> {
        self.space();
        if depth > DEPTH_MAX {
            return None;
        }
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.skip(depth)?;
            self.space();
            match self.next()? {
                b',' => self.space(),
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Reads a value that nobody asked for.
    fn skip(&mut self, depth: u32) -> Sure<()> {
        match self.peek()? {
            b'{' => {
                self.at += 1;
                self.object(&NOTHING, &mut [], depth + 1)
            }
            b'[' => {
                self.at += 1;
                self.array(depth + 1)
            }
            b'"' => {
                self.at += 1;
                self.string().map(drop)
            }
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.number().map(drop),
        }
    }

    /// Reads a named field: a string, a number, true, false, null.
    fn leaf(&mut self) -> Sure<Text<'a>> {
        let begin = self.at;
        match self.peek()? {
            b'"' => {
                self.at += 1;
                let has_escapes = self.string()?;
                let inside = &self.text[begin + 1..self.at - 1];
                return Some(Some(if has_escapes { unescape(inside)?.into() } else { inside.into() }));
            }
            b'n' => return self.literal("null").map(|()| None),
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            _ => {
                let is_integer = self.number()?;
                let number = &self.text[begin..self.at];
                if !is_integer {
                    return number.parse().ok().and_then(float).map(|text| Some(text.into()));
                }
                if number == "-0" {
                    return None;
                }
            }
        }
        Some(Some(self.text[begin..self.at].into()))
    }

    fn literal(&mut self, literal: &str) -> Sure<()> {
        self.bytes[self.at..].starts_with(literal.as_bytes()).then(|| self.at += literal.len())
    }

    /// Reads a number, and says whether it is an integer.
    fn number(&mut self) -> Sure<bool> {
        let begin = self.at;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let end_of_integer = self.at;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        (self.at - begin <= NUMBER_BYTES_MAX).then_some(self.at == end_of_integer)
    }

    fn digits(&mut self) -> Sure<()> {
        let begin = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        (self.at > begin).then_some(())
    }

    /// Reads what is left of a string behind its first quote, and says whether it has escapes.
    #[inline(always)]
    fn string(&mut self) -> Sure<bool> {
        let mut has_escapes = false;
        loop {
            while let Some(eight) = self.bytes.get(self.at..self.at + 8) {
                let marks = special(u64::from_le_bytes(eight.try_into().ok()?));
                if marks != 0 {
                    self.at += marks.trailing_zeros() as usize / 8;
                    break;
                }
                self.at += 8;
            }
            match self.next()? {
                b'"' => return Some(has_escapes),
                b'\\' => {
                    has_escapes = true;
                    escape(&mut self.bytes.get(self.at..)?.iter()).map(|(_, bytes)| self.at += bytes)?;
                }
                0..0x20 => return None,
                _ => {} // one of the last seven bytes
            }
        }
    }
}

static NOTHING: Node = Node { fields: Vec::new(), lengths: 0 };

/// Marks the bytes that are a quote, a backslash or a control character; of several marks the lowest is true.
#[inline(always)]
fn special(eight: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let below = |bytes: u64, bound: u8| bytes.wrapping_sub(ONES * u64::from(bound)) & !bytes;
    let quote = below(eight ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(eight ^ (ONES * u64::from(b'\\')), 1);
    (quote | backslash | below(eight, 0x20)) & (ONES << 7)
}

/// Reads an escape behind its backslash: the character, and of how many bytes.
fn escape(bytes: &mut std::slice::Iter<u8>) -> Sure<(char, usize)> {
    let simple = match bytes.next()? {
        b'u' => {
            let first = hex(bytes)?;
            if !(0xD800..0xDC00).contains(&first) {
                return Some((char::from_u32(first)?, 5));
            }
            if bytes.next()? != &b'\\' || bytes.next()? != &b'u' {
                return None;
            }
            let second = hex(bytes)?;
            if !(0xDC00..0xE000).contains(&second) {
                return None;
            }
            return Some((char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))?, 11));
        }
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        byte @ (b'"' | b'\\' | b'/') => char::from(*byte),
        _ => return None,
    };
    Some((simple, 1))
}

fn hex(bytes: &mut std::slice::Iter<u8>) -> Sure<u32> {
    (0..4).try_fold(0, |number, _| Some(number * 16 + char::from(*bytes.next()?).to_digit(16)?))
}

/// Returns a number's shortest text, where nobody would write an exponent.
fn float(number: f64) -> Sure<String> {
    let is_plain = number == 0.0 || (1e-4..1e15).contains(&number.abs());
    is_plain.then(|| format!("{number:?}"))
}

/// Resolves the escapes of a string that was read before.
fn unescape(string: &str) -> Sure<String> {
    let mut text = String::with_capacity(string.len());
    let mut rest = string;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let (character, bytes) = escape(&mut rest.as_bytes()[at + 1..].iter())?;
        text.push(character);
        rest = &rest[at + 1 + bytes..];
    }
    text.push_str(rest);
    Some(text)
}

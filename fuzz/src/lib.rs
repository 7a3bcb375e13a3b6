//! What the targets share: inputs that people can read and write, and the host's layout.
//!
//! An input is lines of `name: value`, in sections between empty lines. A mutation of one is mostly
//! another one, and what breaks a target can be read.

/// The first sections of an input; those that are missing are empty, and the last one is all the rest.
#[must_use]
pub fn sections<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    const EMPTY_LINE: &[u8] = b"\n\n";
    let mut rest = input;
    let mut position = 0;
    [(); N].map(|()| {
        position += 1;
        let end = rest.windows(EMPTY_LINE.len()).position(|window| window == EMPTY_LINE);
        let end = end.filter(|_| position < N);
        let section = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[], |end| &rest[end + EMPTY_LINE.len()..]);
        section
    })
}

/// The names and values of the lines of a section; without a colon and a space there is no value.
pub fn lines(section: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    const COLON: &[u8] = b": ";
    section.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
        let colon = line.windows(COLON.len()).position(|window| window == COLON);
        colon.map_or((line, &[][..]), |at| (&line[..at], &line[at + COLON.len()..]))
    })
}

/// The value of the first line of this name; empty where there is none.
#[must_use]
pub fn value<'a>(section: &'a [u8], name: &str) -> &'a [u8] {
    lines(section)
        .find_map(|(known, value)| (known == name.as_bytes()).then_some(value))
        .unwrap_or_default()
}

/// What a text says, or the type's default.
#[must_use]
pub fn parsed<T: std::str::FromStr + Default>(text: &[u8]) -> T {
    std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

/// Pairs as a proxy-wasm host lays them out: a count, the lengths, the texts, each with a NUL.
#[must_use]
pub fn layout<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Vec<u8> {
    let length = |count: usize| u32::try_from(count).expect("inputs are short").to_le_bytes();
    let mut bytes = length(pairs.clone().count()).to_vec();
    for (name, value) in pairs.clone() {
        bytes.extend(length(name.len()));
        bytes.extend(length(value.len()));
    }
    for text in pairs.flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(text);
        bytes.push(0);
    }
    bytes
}

/// Whether a text occurs in bytes.
#[must_use]
pub fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

//! The headers of a request or a response that somebody asked for, found in one pass over all of them.
//!
//! Which names are asked for is the business of those who read them; so is what the values mean.

use super::wire::HeaderMap;
use std::borrow::Cow;

/// The names of the headers that are asked for, in lowercase.
#[derive(Debug)]
pub struct HeaderNames {
    /// By their length and their last byte: most headers have none to be compared with, the others one.
    places: [Vec<Box<str>>; Self::PLACES],
}

/// The headers with the names that were asked for, in the order in which they came.
#[derive(Debug, Default)]
pub struct Headers {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// Where a header stands. A name, a NUL and the value lie behind each other.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    name_length: usize,
    value_length: usize,
}

impl Default for HeaderNames {
    fn default() -> Self {
        Self { places: std::array::from_fn(|_| Vec::new()) }
    }
}

impl HeaderNames {
    const PLACES: usize = 64;

    /// Adds a name, unless it is there.
    pub fn add(&mut self, name: &str) {
        if !self.contains(name.as_bytes())
            && let Some(names) = self.places.get_mut(Self::place(name.as_bytes()))
        {
            names.push(name.into());
        }
    }

    /// Whether none is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.iter().all(Vec::is_empty)
    }

    /// Whether this name is asked for.
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        let names = self.places.get(Self::place(name));
        names.is_some_and(|names| names.iter().any(|known| is_same(known.as_bytes(), name)))
    }

    fn place(name: &[u8]) -> usize {
        let last = name.last().copied().map_or(0, usize::from);
        (name.len() + 5 * last) % Self::PLACES
    }
}

/// Whether two names are the same. In WebAssembly `==` is a call that goes byte by byte; each request needs this some twenty times.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.first() == other.first() && has_same_words(one, other)
}

/// Whether two names of the same length are the same: words, of which the last one may overlap with the one before.
#[inline(never)]
fn has_same_words(one: &[u8], other: &[u8]) -> bool {
    let word = |word: &[u8; 8]| u64::from_le_bytes(*word);
    match (one.last_chunk(), other.last_chunk()) {
        (Some(last), Some(other_last)) => {
            let words = one.as_chunks().0.iter().zip(other.as_chunks().0);
            word(last) == word(other_last) && words.into_iter().all(|(a, b)| word(a) == word(b))
        }
        _ => one == other,
    }
}

impl<'a> FromIterator<&'a str> for HeaderNames {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut all = Self::default();
        names.into_iter().for_each(|name| all.add(name));
        all
    }
}

impl Headers {
    /// Not one.
    pub const NONE: Self = Self { bytes: Vec::new(), entries: Vec::new() };

    /// The headers of a map that have one of these names.
    #[must_use]
    pub fn select(map: HeaderMap, names: &HeaderNames) -> Self {
        let mut entries = Vec::with_capacity(16);
        let mut start = map.pairs().start();
        for (name, value) in map.pairs() {
            if names.contains(name) {
                entries.push(Entry { start, name_length: name.len(), value_length: value.len() });
            }
            start += name.len() + 1 + value.len() + 1;
        }
        Self { bytes: map.into_bytes(), entries }
    }

    /// Adds a header, as if it had come.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        self.entries.push(Entry { start, name_length: name.len(), value_length: value.len() });
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.bytes.extend_from_slice(value);
    }

    /// Gives a header another value: the first one of this name, or one more.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.add(name.as_bytes(), value);
        let of_name = |entry: &Entry| self.pair(entry).is_some_and(|it| it.0 == name.as_bytes());
        if let Some(first) = self.entries.iter().position(of_name)
            && first + 1 < self.entries.len()
            && let Some(last) = self.entries.pop()
            && let Some(place) = self.entries.get_mut(first)
        {
            *place = last;
        }
    }

    /// The first value of a header; empty if it is not there.
    #[must_use]
    pub fn first(&self, name: &str) -> &[u8] {
        self.all(name).next().unwrap_or_default()
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> + Clone {
        let of_length = move |entry: &&Entry| entry.name_length == name.len();
        let pairs = self.entries.iter().filter(of_length).filter_map(|entry| self.pair(entry));
        pairs.filter(move |(known, _)| is_same(known, name.as_bytes())).map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.entries.iter().filter_map(|entry| self.pair(entry))
    }

    fn pair(&self, entry: &Entry) -> Option<(&[u8], &[u8])> {
        let bytes = self.bytes.get(entry.start..)?;
        let (name, rest) = bytes.split_at_checked(entry.name_length)?;
        let (_nul, rest) = rest.split_first()?;
        Some((name, rest.get(..entry.value_length)?))
    }

    /// The bytes that are held.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// How many headers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// What is held of them until the request ends: of each header what `wanted` gives, in no more room than that takes.
    #[must_use]
    pub fn hold<'a>(
        &'a self,
        wanted: impl Fn(&'a [u8], &'a [u8]) -> Option<Cow<'a, [u8]>>,
    ) -> Self {
        let mut kept = Vec::with_capacity(self.entries.len());
        kept.extend(self.iter().filter_map(|(name, value)| Some((name, wanted(name, value)?))));
        let size = kept.iter().map(|(name, value)| name.len() + 1 + value.len()).sum();
        let (bytes, entries) = (Vec::with_capacity(size), Vec::with_capacity(kept.len()));
        let mut held = Self { bytes, entries };
        for (name, value) in &kept {
            held.add(name, value);
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn select(pairs: &[(&str, &str)], names: &[&str]) -> Headers {
        Headers::select(HeaderMap::of(pairs), &names.iter().copied().collect())
    }

    fn texts(headers: &Headers) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        headers.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn headers_are_found_by_their_names() {
        let headers =
            select(&[("a", "1"), ("b", "2"), ("a", "3"), ("c", "")], &["a", "c", "a", "absent"]);
        assert_eq!(headers.first("a"), b"1", "the first of two");
        assert_eq!(headers.all("a").collect::<Vec<_>>(), [b"1", b"3"], "in their order");
        assert_eq!(headers.all("c").count(), 1, "an empty value is there");
        assert_eq!(headers.all("b").count(), 0, "nobody asked for it");
        assert_eq!(headers.first("absent"), b"", "it did not come");
        assert_eq!(texts(&headers).len(), 3, "each once");
    }

    #[test]
    fn a_header_may_be_added() {
        let mut headers = select(&[("a", "1"), ("b", "2")], &["a"]);
        headers.add(b"a", b"3");
        headers.add(b"c", b"");
        let expected = [("a", "1"), ("a", "3"), ("c", "")];
        assert_eq!(texts(&headers), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn names_of_any_length_are_told_apart() {
        let long = "x".repeat(HeaderNames::PLACES + 1);
        let names: HeaderNames = ["x", long.as_str()].into_iter().collect();
        assert!(names.contains(b"x") && names.contains(long.as_bytes()), "both are there");
        assert!(!names.contains(b"y"), "of the same length");
        let longer = "x".repeat(2 * HeaderNames::PLACES + 1);
        assert!(!names.contains(longer.as_bytes()), "of the same place");
        assert!(!names.contains(b""), "no name");
        assert!(!names.is_empty() && HeaderNames::default().is_empty(), "whether there is any");
    }

    #[test]
    fn only_what_is_wanted_is_held() {
        let cookie = "c".repeat(10_000);
        let pairs = [("a", "1"), ("b", "2"), ("cookie", cookie.as_str()), ("a", "345")];
        let headers = select(&pairs, &["a", "b"]);
        assert!(headers.size() > 10_000, "all are there");
        let held = headers.hold(|name, value| {
            (name == b"a").then(|| Cow::Borrowed(value.get(..2).unwrap_or(value)))
        });
        assert_eq!(held.all("a").collect::<Vec<_>>(), [b"1".as_slice(), b"34"], "as it was given");
        assert_eq!(held.all("b").count(), 0, "not wanted");
        assert_eq!(held.count(), 2);
        let size = "a\u{0}1".len() + "a\u{0}34".len() + 2 * size_of::<Entry>();
        assert_eq!(held.size(), size, "names, values, and where they stand");
        let nothing = headers.hold(|_, _| None);
        assert_eq!((nothing.size(), nothing.count()), (0, 0), "nothing is wanted");
    }

    proptest! {
        #[test]
        fn what_is_selected_is_what_was_asked_for(
            pairs in prop::collection::vec(("[a-c]{1,3}", ".{0,9}"), 0..20),
            names in prop::collection::vec("[a-c]{1,3}", 0..6),
        ) {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let expected: Vec<_> = pairs.iter().filter(|(name, _)| names.contains(name))
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            prop_assert_eq!(texts(&select(&pairs, &names)), expected);
        }

        #[test]
        fn names_are_the_same_if_each_byte_is(name in "[a-z]{1,30}", at: prop::sample::Index) {
            let mut other = name.clone().into_bytes();
            prop_assert!(is_same(name.as_bytes(), &other));
            other[at.index(name.len())] = b'-';
            prop_assert!(!is_same(name.as_bytes(), &other));
            prop_assert!(!is_same(name.as_bytes(), &other[1..]));
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let names = ["a", "b"].into_iter().collect();
            let headers = Headers::select(HeaderMap::new(bytes), &names);
            prop_assert!(headers.iter().all(|(name, _)| names.contains(name)));
        }
    }
}

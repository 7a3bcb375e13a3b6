//! Tables of words: what can be named, and what each name stands for.
//!
//! They say nothing of the place where a word was found.

/// Words in lower case and their meanings, in the order in which an error lists them.
pub(super) type Words<T> = [(&'static str, T)];

/// The words alone, in their order. What looks for one and lists them is in the module once, whatever the words stand for.
pub(super) type Names<'a> = &'a dyn Fn(usize) -> Option<&'static str>;

/// The word that stands there.
pub(super) fn name<T>(words: &Words<T>, at: usize) -> Option<&'static str> {
    words.get(at).map(|(word, _)| *word)
}

/// Where a word stands.
#[inline(never)] // It would be unrolled for each table.
pub(super) fn position(names: Names<'_>, word: &str) -> Option<usize> {
    (0..).map_while(names).position(|name| name == word)
}

/// What a word stands for.
pub(super) fn meaning<T: Copy>(words: &Words<T>, word: &str) -> Option<T> {
    let at = position(&|at| name(words, at), word)?;
    words.get(at).map(|(_, meaning)| *meaning)
}

/// What a word stands for, in any case.
pub(super) fn meaning_in_any_case<T: Copy>(words: &Words<T>, word: &str) -> Option<T> {
    meaning(words, &word.to_ascii_lowercase())
}

/// All words, as an error lists them.
pub(super) fn listed<T>(words: &Words<T>) -> String {
    joined(words, ", ")
}

/// All words with `separator` between them.
pub(super) fn joined<T>(words: &Words<T>, separator: &str) -> String {
    names_joined(&|at| name(words, at), separator)
}

/// All names with `separator` between them.
#[inline(never)] // As `position`.
pub(super) fn names_joined(names: Names<'_>, separator: &str) -> String {
    let mut joined = String::new();
    for name in (0..).map_while(names) {
        if !joined.is_empty() {
            joined.push_str(separator);
        }
        joined.push_str(name);
    }
    joined
}

//! Tables of words: what can be named, and what each name stands for.
//!
//! They say nothing of the place where a word was found.

/// Words in lower case and their meanings, in the order in which an error lists them.
pub(super) type Words<T> = [(&'static str, T)];

/// What a word stands for.
pub(super) fn meaning<T: Copy>(words: &Words<T>, word: &str) -> Option<T> {
    words.iter().find_map(|(known, meaning)| (*known == word).then_some(*meaning))
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
    words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(separator)
}

//! What is to become of a request's headers: a list that whoever writes headers fills and the host's caller carries out.

use crate::probe::Presence;

/// What becomes of a header, all of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderChange<'a> {
    /// It is added. Where it is not there, that is cheaper for the host than a replacement.
    Add(&'static str, &'a [u8]),
    /// It is replaced, or added.
    Replace(&'static str, &'a [u8]),
    /// It is removed.
    Remove(&'a str),
}

/// Changes of headers, in the order in which they were decided.
#[derive(Debug, Default)]
pub struct Changes {
    /// All values; kept for its memory.
    text: Vec<u8>,
    list: Vec<Change>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    name: &'static str,
    kind: ChangeKind,
    /// Where its value ends; it starts where the one before ends.
    end: usize,
}

#[derive(Clone, Copy, Debug)]
enum ChangeKind {
    Add,
    Replace,
    /// One without a name here has it where values are.
    Remove,
}

impl Changes {
    /// A header gets this value.
    pub fn set(&mut self, name: &'static str, value: &[u8], came: Presence) {
        self.text.extend_from_slice(value);
        let kind = match came {
            Presence::Absent => ChangeKind::Add,
            Presence::Present | Presence::Unknown => ChangeKind::Replace,
        };
        self.push(name, kind);
    }

    /// A header with this value comes to those of its name that are there.
    pub fn add(&mut self, name: &'static str, value: &[u8]) {
        self.set(name, value, Presence::Absent);
    }

    /// A header goes, if it may be there.
    pub fn remove(&mut self, name: &'static str, came: Presence) {
        match came {
            Presence::Absent => {}
            Presence::Present | Presence::Unknown => self.push(name, ChangeKind::Remove),
        }
    }

    /// A header that came goes, unless it gets a value.
    pub fn remove_stale(&mut self, name: &'static str, came: Presence) {
        if came == Presence::Present && self.list.iter().all(|change| change.name != name) {
            self.push(name, ChangeKind::Remove);
        }
    }

    /// A header that came goes.
    pub fn remove_named(&mut self, name: &[u8]) {
        self.text.extend_from_slice(name);
        self.push("", ChangeKind::Remove);
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.text.clear();
        self.list.clear();
    }

    /// What is to be done.
    pub fn iter(&self) -> impl Iterator<Item = HeaderChange<'_>> {
        let mut start = 0;
        self.list.iter().map(move |change| {
            let value = self.text.get(start..change.end).unwrap_or_default();
            start = change.end;
            match change.kind {
                ChangeKind::Add => HeaderChange::Add(change.name, value),
                ChangeKind::Replace => HeaderChange::Replace(change.name, value),
                ChangeKind::Remove if change.name.is_empty() => {
                    // Any other text is the name of no header.
                    HeaderChange::Remove(std::str::from_utf8(value).unwrap_or_default())
                }
                ChangeKind::Remove => HeaderChange::Remove(change.name),
            }
        })
    }

    fn push(&mut self, name: &'static str, kind: ChangeKind) {
        self.list.push(Change { name, kind, end: self.text.len() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_depends_on_what_came() {
        let mut changes = Changes::default();
        changes.set("old", b"gone", Presence::Absent);
        changes.clear();
        changes.set("a", b"1", Presence::Absent);
        changes.set("b", b"22", Presence::Present);
        changes.remove("c", Presence::Absent);
        changes.remove("d", Presence::Present);
        changes.set("e", b"", Presence::Unknown);
        changes.remove("f", Presence::Unknown);
        changes.remove_named(b"uberctx-g");
        changes.set("g", b"333", Presence::Absent);
        let expected = [
            HeaderChange::Add("a", b"1"),
            HeaderChange::Replace("b", b"22"),
            HeaderChange::Remove("d"),
            HeaderChange::Replace("e", b""),
            HeaderChange::Remove("f"),
            HeaderChange::Remove("uberctx-g"),
            HeaderChange::Add("g", b"333"),
        ];
        assert_eq!(changes.iter().collect::<Vec<_>>(), expected);
    }
}

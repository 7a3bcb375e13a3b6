//! Which filters of a VM take whose place: what a filter that goes has to know to leave its unsent spans.
//!
//! The host replaces a filter by configuring the new one first and telling the old one last. It does not say
//! that it does so, nor whether the VM of the old one lives on.

use std::cell::RefCell;
use std::ffi::OsString;
use std::rc::Rc;

/// The filters of a VM, shared by all of them.
#[derive(Clone, Debug, Default)]
pub struct Filters(Rc<RefCell<Vec<Filter>>>);

#[derive(Debug)]
struct Filter {
    id: u32,
    plugin: Plugin,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serves,
    /// It goes when its last call is answered.
    Leaving,
}

/// What a filter is: the host knows it by both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its name, which a successor has, too.
    pub name: String,
    /// Its configuration, as it came.
    pub configuration: Vec<u8>,
}

/// What the VMs of all workers have in common, and those of another module or of other variables don't: the host gives each such kind
/// VMs of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmKind(pub u64);

impl VmKind {
    /// That of a VM with this module and these variables.
    pub fn new(build_id: &[u8], variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        // In any order; the host's own may differ between VMs.
        let variables = variables.map(|(name, value)| {
            let name = fnv_1a(FNV_OFFSET, name.as_encoded_bytes());
            fnv_1a(name, value.as_encoded_bytes())
        });
        Self(variables.fold(fnv_1a(FNV_OFFSET, build_id), u64::wrapping_add))
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// A digest that differs where it is not made to be the same.
fn fnv_1a(digest: u64, bytes: &[u8]) -> u64 {
    let step = |digest: u64, byte: &u8| (digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(digest, step)
}

/// What becomes of what a filter has not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Nobody takes its place: it is lost.
    Lose,
    /// It is left to the successor, and the answer to the call in flight can be waited for.
    HandOverAndWait,
    /// It is left to the successor, the request in flight, too: its answer will not come.
    HandOver,
}

impl Filters {
    /// A filter of this VM is configured.
    pub fn add(&self, id: u32, plugin: Plugin) {
        self.0.borrow_mut().push(Filter { id, plugin, state: State::Serves });
    }

    /// A filter is gone.
    pub fn remove(&self, id: u32) {
        self.0.borrow_mut().retain(|filter| filter.id != id);
    }

    /// What becomes of what this filter has not delivered, now that it goes. It is in a VM of `own` kind; in one of the `latest` kind a
    /// filter of its name was last configured, as far as is known.
    #[must_use]
    pub fn depart(&self, id: u32, own: VmKind, latest: Option<VmKind>) -> Departure {
        let mut filters = self.0.borrow_mut();
        let Some(plugin) = filters.iter().find(|it| it.id == id).map(|it| it.plugin.clone()) else {
            return Departure::Lose;
        };
        let successor = |it: &&Filter| {
            it.id != id && it.state == State::Serves && it.plugin.name == plugin.name
        };
        if !filters.iter().any(|it| successor(&it)) {
            // Without another filter the VM ends, and the calls in flight with it.
            let elsewhere = latest.is_some_and(|latest| latest != own);
            return if elsewhere { Departure::HandOver } else { Departure::Lose };
        }
        // The host can't tell two that wait from each other, if they are the same plugin.
        let taken = filters.iter().any(|it| it.state == State::Leaving && it.plugin == plugin);
        if taken {
            return Departure::HandOver;
        }
        if let Some(filter) = filters.iter_mut().find(|it| it.id == id) {
            filter.state = State::Leaving;
        }
        Departure::HandOverAndWait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: VmKind = VmKind(1);
    const LATEST: Option<VmKind> = Some(OWN);

    fn plugin(name: &str, configuration: &str) -> Plugin {
        Plugin { name: name.into(), configuration: configuration.into() }
    }

    fn filters(plugins: &[(&str, &str)]) -> Filters {
        let filters = Filters::default();
        for (id, (name, configuration)) in (1..).zip(plugins) {
            filters.add(id, plugin(name, configuration));
        }
        filters
    }

    #[test]
    fn a_successor_has_the_name() {
        let cases: &[(&[(&str, &str)], Departure, &str)] = &[
            (
                &[("otel", "old"), ("otel", "new")],
                Departure::HandOverAndWait,
                "a new configuration",
            ),
            (&[("otel", "old")], Departure::Lose, "it was removed"),
            (&[("otel", "old"), ("other", "new")], Departure::Lose, "another plugin"),
        ];
        for (plugins, expected, reason) in cases {
            assert_eq!(filters(plugins).depart(1, OWN, LATEST), *expected, "{reason}");
        }
        assert_eq!(
            Filters::default().depart(1, OWN, LATEST),
            Departure::Lose,
            "it was never configured"
        );
    }

    #[test]
    fn a_successor_may_be_in_another_vm() {
        let filters = filters(&[("otel", "old")]);
        let cases = [
            (Some(OWN), Departure::Lose, "itself, or a sibling of another worker"),
            (Some(VmKind(2)), Departure::HandOver, "a new module"),
            (None, Departure::Lose, "the host forgot"),
        ];
        for (latest, expected, reason) in cases {
            assert_eq!(filters.depart(1, OWN, latest), expected, "{reason}");
        }
    }

    #[test]
    fn a_kind_is_of_the_module_and_its_variables() {
        let kind = |build_id: &[u8], variables: &[(&str, &str)]| {
            let owned =
                |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
            VmKind::new(build_id, variables.iter().map(owned))
        };
        let (a, b) = (("A", "1"), ("B", "2"));
        assert_eq!(kind(b"1", &[a, b]), kind(b"1", &[b, a]), "in any order");
        assert_ne!(kind(b"1", &[a]), kind(b"2", &[a]), "another module");
        assert_ne!(kind(b"1", &[a]), kind(b"1", &[b]), "other variables");
    }

    #[test]
    fn of_the_same_plugin_one_waits() {
        let filters = filters(&[("otel", "a"), ("otel", "b")]);
        assert_eq!(filters.depart(1, OWN, LATEST), Departure::HandOverAndWait, "the first");
        filters.add(3, plugin("otel", "a"));
        assert_eq!(filters.depart(2, OWN, LATEST), Departure::HandOverAndWait, "another one");
        filters.add(4, plugin("otel", "b"));
        assert_eq!(filters.depart(3, OWN, LATEST), Departure::HandOver, "the first again");
        filters.remove(2);
        filters.add(5, plugin("otel", "a"));
        assert_eq!(
            filters.depart(4, OWN, LATEST),
            Departure::HandOverAndWait,
            "the other one is gone"
        );
    }

    #[test]
    fn one_that_leaves_is_no_successor() {
        let filters = filters(&[("otel", "a"), ("otel", "b")]);
        assert_eq!(filters.depart(1, OWN, LATEST), Departure::HandOverAndWait);
        assert_eq!(filters.depart(2, OWN, LATEST), Departure::Lose, "nobody else is left");
    }
}

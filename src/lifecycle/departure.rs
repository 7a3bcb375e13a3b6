//! The filters of a VM, and how long one of them is there when it goes.
//!
//! The host replaces a filter by configuring the new one first and telling the old one last. It does not say
//! that it does so. A VM lasts as long as one filter serves in it; calls in flight end with it, and no answer comes.

use std::cell::RefCell;
use std::rc::Rc;

/// The filters of a VM, shared by all of them; `F` is how each one is reached.
#[derive(Debug)]
pub struct Filters<F>(Rc<RefCell<Vec<Filter<F>>>>);

#[derive(Debug)]
struct Filter<F> {
    id: u32,
    plugin: Plugin,
    handle: Option<F>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serves,
    /// It goes when it has delivered what it has.
    Leaving,
}

/// What a filter is: the host knows it by both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// Its configuration, as it came.
    pub configuration: Vec<u8>,
}

/// How long a filter that goes is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Until it says that it has nothing left to do.
    Stays,
    /// No longer: a call in flight will not be answered.
    AtOnce,
}

impl<F> Clone for Filters<F> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<F> Default for Filters<F> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<F: Clone> Filters<F> {
    /// A filter of this VM is configured. One that is disabled has no handle, but the VM lasts as long as it does.
    pub fn add(&self, id: u32, plugin: Plugin, handle: Option<F>) {
        self.0.borrow_mut().push(Filter { id, plugin, handle, stage: Stage::Serves });
    }

    /// A filter is gone.
    pub fn remove(&self, id: u32) {
        self.0.borrow_mut().retain(|filter| filter.id != id);
    }

    /// How long this filter is there, now that it goes: for its VM it goes with this call; and those that still stay although the VM
    /// ends with this filter.
    #[must_use]
    pub fn depart(&self, id: u32) -> (Departure, Vec<F>) {
        let mut filters = self.0.borrow_mut();
        let Some(place) = filters.iter().position(|it| it.id == id) else {
            return (Departure::AtOnce, Vec::new());
        };
        let serves = filters.iter().any(|it| it.id != id && it.stage == Stage::Serves);
        if !serves {
            let leaving = filters.iter().filter(|it| it.id != id);
            return (Departure::AtOnce, leaving.filter_map(|it| it.handle.clone()).collect());
        }
        // The host can't tell two that stay from each other, if they are the same plugin.
        let plugin = filters.get(place).map(|it| it.plugin.clone());
        let taken = filters
            .iter()
            .any(|it| it.stage == Stage::Leaving && Some(&it.plugin) == plugin.as_ref());
        if taken {
            return (Departure::AtOnce, Vec::new());
        }
        if let Some(filter) = filters.get_mut(place) {
            filter.stage = Stage::Leaving;
        }
        (Departure::Stays, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(name: &str, configuration: &str) -> Plugin {
        Plugin { name: name.into(), configuration: configuration.into() }
    }

    /// Filters of these configurations, each of which is its number.
    fn filters(configurations: &[&str]) -> Filters<u32> {
        let filters = Filters::default();
        for (id, configuration) in (1..).zip(configurations) {
            filters.add(id, plugin("otel", configuration), Some(id));
        }
        filters
    }

    #[test]
    fn a_filter_stays_where_another_one_serves() {
        let cases: &[(&[&str], u32, Departure, &str)] = &[
            (&["old", "new"], 1, Departure::Stays, "a new configuration"),
            (&["old"], 1, Departure::AtOnce, "the last: the VM ends"),
            (&["old"], 2, Departure::AtOnce, "it was never configured"),
        ];
        for (configurations, id, expected, reason) in cases {
            assert_eq!(filters(configurations).depart(*id), (*expected, vec![]), "{reason}");
        }
    }

    #[test]
    fn those_that_stay_are_told_when_the_vm_ends() {
        let filters = filters(&["a", "b", "c"]);
        assert_eq!(filters.depart(1), (Departure::Stays, vec![]));
        assert_eq!(filters.depart(2), (Departure::Stays, vec![]));
        assert_eq!(filters.depart(4), (Departure::AtOnce, vec![]), "a stranger ends nothing");
        assert_eq!(filters.depart(3), (Departure::AtOnce, vec![1, 2]), "the last");
        filters.remove(1);
        assert_eq!(filters.depart(3), (Departure::AtOnce, vec![2]), "one is gone");
    }

    #[test]
    fn a_vm_lasts_as_long_as_a_filter_that_is_disabled() {
        let filters = filters(&["a"]);
        // Each of them has the list, which is one.
        filters.clone().add(2, plugin("otel", "disabled"), None);
        assert_eq!(filters.depart(1), (Departure::Stays, vec![]));
        assert_eq!(filters.depart(2), (Departure::AtOnce, vec![1]), "it is the last one");
    }

    #[test]
    fn of_the_same_plugin_one_stays() {
        let filters = filters(&["a", "b"]);
        let depart = |id| filters.depart(id).0;
        assert_eq!(depart(1), Departure::Stays, "the first");
        filters.add(3, plugin("otel", "a"), Some(3));
        assert_eq!(depart(2), Departure::Stays, "another one");
        filters.add(4, plugin("otel", "b"), Some(4));
        assert_eq!(depart(3), Departure::AtOnce, "the first again");
        filters.add(6, plugin("other", "a"), Some(6));
        assert_eq!(depart(6), Departure::Stays, "of another name");
        filters.remove(1);
        filters.remove(3);
        filters.add(5, plugin("otel", "a"), Some(5));
        assert_eq!(depart(5), Departure::Stays, "the other one is gone");
    }
}

//! The filters of a VM, and what one of them does with its spans when it goes.
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
    handle: F,
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

/// Whether another filter delivers to the same destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// One does.
    Live,
    /// One was configured just now. It may be in a VM in which the host only tries a configuration, and which it throws away.
    New,
    /// None does.
    None,
}

/// What a filter does with its spans when it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It hands over what waits, and stays until the call in flight is answered.
    HandOverAndWait,
    /// It hands over everything: the call in flight will not be answered.
    HandOver,
    /// It stays until it has delivered everything itself, or somebody is there to hand it over to.
    Deliver,
    /// Nobody can deliver it any more.
    Lose,
}

impl Departure {
    /// Of a filter that can't stay.
    #[must_use]
    pub fn at_once(successor: Successor) -> Self {
        match successor {
            Successor::Live | Successor::New => Self::HandOver,
            Successor::None => Self::Lose,
        }
    }
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
    /// A filter of this VM is configured.
    pub fn add(&self, id: u32, plugin: Plugin, handle: F) {
        self.0.borrow_mut().push(Filter { id, plugin, handle, stage: Stage::Serves });
    }

    /// A filter is gone.
    pub fn remove(&self, id: u32) {
        self.0.borrow_mut().retain(|filter| filter.id != id);
    }

    /// What this filter does with its spans, now that it goes: for its VM it goes with this call; and those that still wait for an answer although the VM
    /// ends with this filter.
    #[must_use]
    pub fn depart(&self, id: u32, successor: Successor) -> (Departure, Vec<F>) {
        let mut filters = self.0.borrow_mut();
        let serves = filters.iter().any(|it| it.id != id && it.stage == Stage::Serves);
        if !serves {
            let leaving = filters.iter().filter(|it| it.id != id).map(|it| it.handle.clone());
            return (Departure::at_once(successor), leaving.collect());
        }
        let Some(place) = filters.iter().position(|it| it.id == id) else {
            return (Departure::Lose, Vec::new());
        };
        // The host can't tell two that stay from each other, if they are the same plugin.
        let plugin = filters.get(place).map(|it| it.plugin.clone());
        let taken = filters
            .iter()
            .any(|it| it.stage == Stage::Leaving && Some(&it.plugin) == plugin.as_ref());
        let departure = match successor {
            successor if taken => Departure::at_once(successor),
            Successor::Live => Departure::HandOverAndWait,
            Successor::New | Successor::None => Departure::Deliver,
        };
        if let (false, Some(filter)) = (taken, filters.get_mut(place)) {
            filter.stage = Stage::Leaving;
        }
        (departure, Vec::new())
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
            filters.add(id, plugin("otel", configuration), id);
        }
        filters
    }

    #[test]
    fn what_a_filter_does_depends_on_who_stays() {
        use Departure::{Deliver, HandOver, HandOverAndWait, Lose};
        let cases: &[(&[&str], Successor, Departure, &str)] = &[
            (&["old", "new"], Successor::Live, HandOverAndWait, "a new configuration"),
            (&["old", "new"], Successor::New, Deliver, "a new one that may be none"),
            (&["old", "new"], Successor::None, Deliver, "a new destination"),
            (&["old"], Successor::Live, HandOver, "another worker's"),
            (&["old"], Successor::New, HandOver, "a new module"),
            (&["old"], Successor::None, Lose, "it was removed"),
        ];
        for (configurations, successor, expected, reason) in cases {
            let (departure, leaving) = filters(configurations).depart(1, *successor);
            assert_eq!(departure, *expected, "{reason}");
            assert!(leaving.is_empty(), "{reason}: nobody waits");
        }
        let none = Filters::<u32>::default();
        assert_eq!(none.depart(1, Successor::Live).0, HandOver, "it was never configured");
    }

    #[test]
    fn those_that_wait_are_told_when_the_vm_ends() {
        let filters = filters(&["a", "b", "c"]);
        assert_eq!(filters.depart(1, Successor::Live), (Departure::HandOverAndWait, vec![]));
        assert_eq!(filters.depart(2, Successor::None), (Departure::Deliver, vec![]));
        assert_eq!(
            filters.depart(3, Successor::Live),
            (Departure::HandOver, vec![1, 2]),
            "the last"
        );
        filters.remove(1);
        assert_eq!(filters.depart(3, Successor::None), (Departure::Lose, vec![2]), "one is gone");
    }

    #[test]
    fn of_the_same_plugin_one_waits() {
        let filters = filters(&["a", "b"]);
        let depart = |id| filters.depart(id, Successor::Live).0;
        assert_eq!(depart(1), Departure::HandOverAndWait, "the first");
        filters.add(3, plugin("otel", "a"), 3);
        assert_eq!(depart(2), Departure::HandOverAndWait, "another one");
        filters.add(4, plugin("otel", "b"), 4);
        assert_eq!(depart(3), Departure::HandOver, "the first again");
        assert_eq!(filters.depart(3, Successor::None).0, Departure::Lose, "and nobody else");
        filters.add(6, plugin("other", "a"), 6);
        assert_eq!(depart(6), Departure::HandOverAndWait, "of another name");
        filters.remove(1);
        filters.add(5, plugin("otel", "a"), 5);
        assert_eq!(depart(5), Departure::HandOverAndWait, "the other one is gone");
    }
}

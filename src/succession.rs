//! Which filters of a VM take whose place: what a filter that goes has to know to leave its unsent spans.
//!
//! The host replaces a filter by configuring the new one first and telling the old one last. It does not say
//! that it does so, nor whether the VM of the old one lives on.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// How long a filter of another VM must have been configured after this one to be a successor. Those of other workers, which
/// are its siblings, are configured within moments.
const SIBLINGS: Duration = Duration::from_secs(1);

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
    Lingers,
}

/// What a filter is: the host knows it by both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its name, which a successor has, too.
    pub name: String,
    /// Its configuration, as it came.
    pub configuration: Vec<u8>,
}

/// What becomes of what a filter has not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estate {
    /// Nobody takes its place: it is lost.
    Lost,
    /// It is left to the successor, and the answer to the call in flight can be waited for.
    LeftAndAwaited,
    /// It is left to the successor, the request in flight, too: its answer will not come.
    Left,
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

    /// What becomes of what this filter has not delivered, now that it goes. It was configured at `configured`, any
    /// filter of its name in any VM last at `latest`, both since the same moment.
    #[must_use]
    pub fn estate(&self, id: u32, configured: Duration, latest: Duration) -> Estate {
        let mut filters = self.0.borrow_mut();
        let Some(plugin) = filters.iter().find(|it| it.id == id).map(|it| it.plugin.clone()) else {
            return Estate::Lost;
        };
        let successor = |it: &&Filter| {
            it.id != id && it.state == State::Serves && it.plugin.name == plugin.name
        };
        if !filters.iter().any(|it| successor(&it)) {
            // Without another filter the VM ends, and the calls in flight with it.
            let elsewhere = latest.saturating_sub(configured) > SIBLINGS;
            return if elsewhere { Estate::Left } else { Estate::Lost };
        }
        // The host can't tell two that linger from each other, if they are the same plugin.
        let taken = filters.iter().any(|it| it.state == State::Lingers && it.plugin == plugin);
        if taken {
            return Estate::Left;
        }
        if let Some(filter) = filters.iter_mut().find(|it| it.id == id) {
            filter.state = State::Lingers;
        }
        Estate::LeftAndAwaited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

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
        let cases: &[(&[(&str, &str)], Estate, &str)] = &[
            (&[("otel", "old"), ("otel", "new")], Estate::LeftAndAwaited, "a new configuration"),
            (&[("otel", "old")], Estate::Lost, "it was removed"),
            (&[("otel", "old"), ("other", "new")], Estate::Lost, "another plugin"),
        ];
        for (plugins, expected, reason) in cases {
            assert_eq!(filters(plugins).estate(1, NOW, NOW), *expected, "{reason}");
        }
        assert_eq!(Filters::default().estate(1, NOW, NOW), Estate::Lost, "it was never configured");
    }

    #[test]
    fn a_successor_may_be_in_another_vm() {
        let filters = filters(&[("otel", "old")]);
        let later = |milliseconds| NOW + Duration::from_millis(milliseconds);
        let cases = [
            (later(0), Estate::Lost, "itself"),
            (later(900), Estate::Lost, "a sibling of another worker"),
            (later(1100), Estate::Left, "a new module"),
            (Duration::ZERO, Estate::Lost, "the host forgot"),
        ];
        for (latest, expected, reason) in cases {
            assert_eq!(filters.estate(1, NOW, latest), expected, "{reason}");
        }
    }

    #[test]
    fn of_the_same_plugin_one_lingers() {
        let filters = filters(&[("otel", "a"), ("otel", "b")]);
        assert_eq!(filters.estate(1, NOW, NOW), Estate::LeftAndAwaited, "the first");
        filters.add(3, plugin("otel", "a"));
        assert_eq!(filters.estate(2, NOW, NOW), Estate::LeftAndAwaited, "another one");
        filters.add(4, plugin("otel", "b"));
        assert_eq!(filters.estate(3, NOW, NOW), Estate::Left, "the first again");
        filters.remove(2);
        filters.add(5, plugin("otel", "a"));
        assert_eq!(filters.estate(4, NOW, NOW), Estate::LeftAndAwaited, "the other one is gone");
    }

    #[test]
    fn one_that_lingers_is_no_successor() {
        let filters = filters(&[("otel", "a"), ("otel", "b")]);
        assert_eq!(filters.estate(1, NOW, NOW), Estate::LeftAndAwaited);
        assert_eq!(filters.estate(2, NOW, NOW), Estate::Lost, "nobody else is left");
    }
}

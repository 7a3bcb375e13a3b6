use super::*;
use std::cell::RefCell;

/// A request that notes what it is asked for.
#[derive(Default)]
struct Asked {
    headers: Vec<(&'static str, &'static str)>,
    calls: RefCell<Vec<String>>,
}

impl Asked {
    fn of(headers: &[(&'static str, &'static str)]) -> Self {
        Self { headers: headers.to_vec(), ..Self::default() }
    }

    fn note(&self, call: impl Into<String>) {
        self.calls.borrow_mut().push(call.into());
    }

    fn take(&self) -> Vec<String> {
        self.calls.take()
    }
}

impl RequestSource for Asked {
    fn shared(&self) -> &dyn Shared {
        &Alone
    }

    fn has_header(&self, name: &str) -> bool {
        self.note(format!("has {name}"));
        self.headers.iter().any(|(known, _)| *known == name)
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.note(format!("value of {name}"));
        self.headers.iter().find_map(|(known, value)| (*known == name).then(|| (*value).into()))
    }

    fn headers(&self) -> HeaderMap {
        self.note("all headers");
        HeaderMap::of(&self.headers)
    }

    fn body(&self) -> Body {
        Body::Possible
    }

    fn attribute(&self, name: &str) -> Vec<u8> {
        self.note(name);
        name.as_bytes().to_vec()
    }

    fn now(&self) -> Duration {
        self.note("now");
        Duration::from_secs(7)
    }

    fn attempt(&self) -> Option<Attempt> {
        None
    }

    fn lineage(&self) -> Vec<u8> {
        Vec::new()
    }

    fn client_span(&self) -> Vec<u8> {
        Vec::new()
    }

    fn unix_time(&self) -> Duration {
        self.note("unix time");
        Duration::from_secs(8)
    }

    fn marks(&self) -> Vec<u8> {
        self.note("marks");
        Vec::new()
    }
}

fn presence(names: &[&'static str]) -> Needs {
    Needs { headers: HeaderNeeds::Presence(names.to_vec()), ..Needs::default() }
}

/// What a look finds where no carrier may say enough.
fn looked_at(probe: &Probe, request: &Asked) -> Option<Headers> {
    match probe.look(request, None::<fn(&[u8]) -> bool>) {
        Look::NoCarrier => None,
        Look::Headers(headers) => Some(headers),
        Look::Enough => panic!("nothing is enough"),
    }
}

fn all() -> Needs {
    Needs { headers: HeaderNeeds::All, ..Needs::default() }
}

#[test]
fn needs_add_up() {
    let cases = [
        (Needs::default(), Needs::default(), Needs::default(), "nothing"),
        (presence(&["a"]), Needs::default(), presence(&["a"]), "one needs nothing"),
        (Needs::default(), presence(&["a"]), presence(&["a"]), "the other needs nothing"),
        (presence(&["a", "b"]), presence(&["b", "c"]), presence(&["a", "b", "c"]), "each once"),
        (presence(&["a"]), all(), all(), "all are more than some"),
        (all(), presence(&["a"]), all(), "in any order"),
    ];
    for (one, other, expected, reason) in cases {
        assert_eq!(one.and(other), expected, "{reason}");
    }
    let attributes = |names: &[&'static str]| Needs { attributes: names.to_vec(), ..all() };
    let both = attributes(&["a", "b"]).and(attributes(&["b", "c"]));
    assert_eq!(both, attributes(&["a", "b", "c"]), "each attribute once");
    let timed = Needs { time: TimeNeed::Now, ..Needs::default() };
    assert_eq!(timed.clone().and(Needs::default()), timed, "one needs the time");
    assert_eq!(Needs::default().and(timed.clone()), timed, "the other needs the time");
}

#[test]
fn what_is_asked_first_depends_on_the_needs_and_on_the_last_request() {
    type Case<'a> = (Needs, Needed, &'a [(&'static str, &'static str)], &'a [&'a str], &'a str);
    let context = [("a", "1"), ("x", "2")];
    let cases: &[Case<'_>] = &[
        (Needs::default(), Needed::NoMore, &context, &[], "nothing is needed"),
        (presence(&["a"]), Needed::NoMore, &[], &["has a"], "one header is not there"),
        (presence(&["a"]), Needed::NoMore, &context, &["has a", "all headers"], "it is there"),
        (
            presence(&["b", "a", "c"]),
            Needed::NoMore,
            &context,
            &["has b", "has a", "all headers"],
            "one of three",
        ),
        (all(), Needed::NoMore, &[], &["all headers"], "all are needed"),
        (
            presence(&["a"]),
            Needed::AllHeaders,
            &context,
            &["all headers"],
            "the last one needed all",
        ),
        (
            Needs::default(),
            Needed::AllHeaders,
            &context,
            &["all headers"],
            "whatever is needed first",
        ),
    ];
    for (needs, last, headers, calls, reason) in cases {
        let mut probe = Probe::new(needs.clone(), ["a"].into_iter().collect());
        probe.note(*last);
        let request = Asked::of(headers);
        let found = looked_at(&probe, &request);
        assert_eq!(request.take(), *calls, "{reason}");
        assert_eq!(found.is_some(), calls.contains(&"all headers"), "{reason}");
        let texts = found.map(|found| found.iter().count());
        let expected = usize::from(!headers.is_empty());
        assert!(texts.is_none_or(|count| count == expected), "{reason}: those that are read");
    }
}

#[test]
fn one_carrier_may_say_enough() {
    let is_one = |value: &[u8]| value == b"1";
    let cases: [(_, &[_], &[&str], _, _); 4] = [
        (Needed::NoMore, &[("a", "1")], &["value of a"], true, "it does"),
        (Needed::NoMore, &[("a", "2")], &["value of a", "all headers"], false, "it does not"),
        (Needed::NoMore, &[], &["value of a"], false, "there is none"),
        (Needed::AllHeaders, &[("a", "1")], &["all headers"], false, "all are known anyway"),
    ];
    for (last, headers, calls, is_enough, reason) in cases {
        let mut probe = Probe::new(presence(&["a"]), ["a"].into_iter().collect());
        probe.note(last);
        let request = Asked::of(headers);
        let look = probe.look(&request, Some(is_one));
        assert_eq!(request.take(), calls, "{reason}");
        assert_eq!(matches!(look, Look::Enough), is_enough, "{reason}");
        assert_eq!(matches!(look, Look::NoCarrier), headers.is_empty(), "{reason}");
    }
}

#[test]
fn one_request_tells_what_the_next_needs() {
    let mut probe = Probe::new(presence(&["a"]), HeaderNames::default());
    let request = Asked::of(&[]);
    probe.note(Needed::AllHeaders);
    looked_at(&probe, &request);
    assert_eq!(request.take(), ["all headers"]);
    probe.note(Needed::NoMore);
    looked_at(&probe, &request);
    assert_eq!(request.take(), ["has a"]);
}

#[test]
fn a_sampler_gets_what_it_asked_for_and_nothing_else_is_read() {
    let request = Asked::of(&[("a", "1")]);
    let needs = Needs { attributes: vec!["x", "y"], time: TimeNeed::Now, ..all() };
    let probe = Probe::new(needs, ["a"].into_iter().collect());
    let found = looked_at(&probe, &request);
    let facts = probe.facts(&request, found.as_ref(), |_| true);
    assert_eq!(request.take(), ["all headers", "x", "y", "now"]);
    assert_eq!(facts.0.map(|headers| headers.first("a")), Some(b"1".as_slice()));
    assert_eq!(facts.1, [("x", b"x".to_vec()), ("y", b"y".to_vec())]);
    assert_eq!(facts.2, Some(Duration::from_secs(7)));

    let probe = Probe::new(presence(&["a"]), ["a"].into_iter().collect());
    let found = looked_at(&probe, &request);
    request.take();
    let facts = probe.facts(&request, found.as_ref(), |_| true);
    assert_eq!(request.take(), [""; 0]);
    assert!(facts.0.is_none() && facts.1.is_empty() && facts.2.is_none(), "{facts:?}");
}

#[test]
fn presence_is_known_of_what_was_asked_for() {
    let names: HeaderNames = ["a", "b"].into_iter().collect();
    let headers = Headers::select(HeaderMap::of(&[("a", "")]), &names);
    let cases = [
        (Known::Headers(&headers), "a", Presence::Present, "it came"),
        (Known::Headers(&headers), "b", Presence::Absent, "all were seen"),
        (Known::NoCarrier, "a", Presence::Absent, "it was asked for"),
        (Known::NoCarrier, "b", Presence::Unknown, "nobody asked"),
    ];
    for (known, name, expected, reason) in cases {
        assert_eq!(known.presence(name, &["a"]), expected, "{reason}");
    }
}

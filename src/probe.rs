//! What has to be known of a request before it is decided, and how it is asked for at the lowest price.
//!
//! Who asks (`propagation`, `sampling`) says what it needs; the host calls themselves are the filter's part.

use crate::envoy::attempt::Attempt;
use crate::envoy::headers::{HeaderNames, Headers};
use crate::envoy::wire::HeaderMap;
use crate::id::TraceId;
use std::time::Duration;

/// A request that starts, as whoever holds it can be asked. Each answer has a price: a host call.
pub trait RequestSource {
    /// What the filters of its process share.
    fn shared(&self) -> &dyn Shared;

    /// Whether a header is there. Costs little if it is not.
    fn has_header(&self, name: &str) -> bool;

    /// All values of a header, joined by commas. Costs little if it is not there.
    fn header(&self, name: &str) -> Option<Vec<u8>>;

    /// All headers.
    fn headers(&self) -> HeaderMap;

    /// What is known of its body. Costs nothing.
    fn body(&self) -> Body;

    /// The value of one of Envoy's attributes, such as `xds.route_name`; empty if it is not set.
    fn attribute(&self, name: &str) -> Vec<u8>;

    /// The time since any fixed moment.
    fn now(&self) -> Duration;

    /// The time since the Unix epoch.
    fn unix_time(&self) -> Duration;

    /// What the passes before this one have left of it, if the host redirected the request internally: the marks that
    /// [`crate::tracer::Tracer::end`] gave, in their order. No caller can send it.
    fn marks(&self) -> Vec<u8>;

    /// Which attempt of the host's router it is, if it is one.
    fn attempt(&self) -> Option<Attempt>;

    /// What the attempt before this one has left of their request: the bytes of [`crate::tracer::Lineage`]. No caller can send it. Costs little
    /// if there is nothing.
    fn lineage(&self) -> Vec<u8>;

    /// The id of the CLIENT span that the filter in the listener's chain has of this request, in hexadecimal digits; empty without. No caller can
    /// send it. Costs little if there is none.
    fn client_span(&self) -> Vec<u8>;
}

/// What the filters of a process share.
pub trait Shared {
    /// Whether a rule of one of them has kept this trace by how a request ended, within the last minute; of many, not all are known.
    /// Costs little if it is not.
    fn is_kept(&self, trace_id: TraceId) -> bool;

    /// Notes a trace that a rule has kept.
    fn note_kept(&self, trace_id: TraceId);

    /// Takes spans from a bucket, up to a number, and gives how many.
    fn take_spans(&self, bucket: BucketName, per_second: u32, wanted: u32) -> u32;
}

/// A filter that shares nothing: it knows of no trace, and no one else takes spans.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Shared for Alone {
    fn is_kept(&self, _: TraceId) -> bool {
        false
    }

    fn note_kept(&self, _: TraceId) {}

    fn take_spans(&self, _: BucketName, _: u32, wanted: u32) -> u32 {
        wanted
    }
}

/// Whose spans a bucket limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketName {
    /// Those that are kept when their requests start.
    Head,
    /// Those that rules keep by how their requests ended.
    Outcome,
}

/// A response, in the callback of its headers or its trailers, as whoever holds it can be asked. Each answer has a price: a host call.
pub trait ResponseSource {
    /// What the filters of its process share.
    fn shared(&self) -> &dyn Shared;

    /// The first value of a header, or trailer. Costs little if it is not there.
    fn first(&self, name: &str) -> Option<Vec<u8>>;

    /// All values of a header, or trailer, joined by commas. Costs little if it is not there.
    fn header(&self, name: &str) -> Option<Vec<u8>>;

    /// Which of the two they are.
    fn part(&self) -> ResponsePart;

    /// The time since the same fixed moment as when the request started.
    fn now(&self) -> Duration;
}

/// What of a response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponsePart {
    /// Its headers, and more is to come.
    Headers,
    /// Its headers, which are all there is.
    HeadersOnly,
    /// Its trailers.
    Trailers,
}

/// What is known of a request's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// The request ends with its headers.
    None,
    /// There may be one.
    #[default]
    Possible,
}

/// What has to be known before a request is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Of its headers.
    pub headers: HeaderNeeds,
    /// Headers that are read beside those that the conventions ask for, in lowercase.
    pub header_names: Vec<Box<str>>,
    /// Of Envoy's attributes.
    pub attributes: Vec<&'static str>,
    /// The time.
    pub time: TimeNeed,
}

/// What has to be known of a request's headers, the cheapest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HeaderNeeds {
    /// Nothing.
    #[default]
    Nothing,
    /// Whether any of these is there; if so, all headers, unless that one is enough.
    Presence(Vec<&'static str>),
    /// All of them.
    All,
}

/// Whether the time has to be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeNeed {
    /// It does not.
    #[default]
    None,
    /// It does.
    Now,
}

/// Whether a header came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It did not.
    Absent,
    /// It did.
    Present,
    /// Nobody has asked.
    Unknown,
}

/// What a look at a request's headers gave.
#[derive(Debug)]
pub enum Look {
    /// No header is there that would carry a context.
    NoCarrier,
    /// One of them is all that has to be known.
    Enough,
    /// Those that somebody reads.
    Headers(Headers),
}

/// What is known of a request's headers.
#[derive(Clone, Copy, Debug)]
pub enum Known<'a> {
    /// None of those is there that would carry a context. Of others nothing is known.
    NoCarrier,
    /// Those that somebody reads.
    Headers(&'a Headers),
}

/// Asks each request for what is needed of it. All headers in one call are dear, yet cheaper than one header and then all: most
/// proxies see the same kind of requests again and again, so what the last one needed decides what is asked of the next one first. It
/// changes the price, never the result.
#[derive(Debug)]
pub struct Probe {
    needs: Needs,
    /// The headers that somebody reads.
    names: HeaderNames,
    /// What the last request needed.
    last: Needed,
    /// Of so many requests the headers are read while they start, since they might not be readable later.
    early: u32,
}

/// What a request needed in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// No more than what has to be known of each.
    NoMore,
    /// All its headers.
    AllHeaders,
}

impl Needs {
    /// What either of two needs.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.headers = match (self.headers, other.headers) {
            (HeaderNeeds::All, _) | (_, HeaderNeeds::All) => HeaderNeeds::All,
            (HeaderNeeds::Nothing, needs) | (needs, HeaderNeeds::Nothing) => needs,
            (HeaderNeeds::Presence(mut names), HeaderNeeds::Presence(others)) => {
                add_new(&mut names, others);
                HeaderNeeds::Presence(names)
            }
        };
        add_new(&mut self.header_names, other.header_names);
        add_new(&mut self.attributes, other.attributes);
        if other.time == TimeNeed::Now {
            self.time = TimeNeed::Now;
        }
        self
    }
}

fn add_new<T: PartialEq>(names: &mut Vec<T>, others: Vec<T>) {
    for name in others {
        if !names.contains(&name) {
            names.push(name);
        }
    }
}

impl<'a> From<Option<&'a Headers>> for Known<'a> {
    fn from(headers: Option<&'a Headers>) -> Self {
        headers.map_or(Self::NoCarrier, Self::Headers)
    }
}

impl Known<'_> {
    /// Whether a header came. `carriers` are those whose absence is known where nothing else is.
    #[must_use]
    #[inline] // Both names are known there, so that nothing is compared.
    pub fn presence(self, name: &str, carriers: &[&str]) -> Presence {
        match self {
            Self::Headers(headers) if headers.all(name).next().is_some() => Presence::Present,
            Self::Headers(_) => Presence::Absent,
            Self::NoCarrier if carriers.contains(&name) => Presence::Absent,
            Self::NoCarrier => Presence::Unknown,
        }
    }
}

impl Probe {
    /// Of so many requests nobody has seen yet whether their headers can be read when they have ended.
    const FIRST: u32 = 16;
    /// How many requests are read early after one whose headers are not readable later, whether it was read early or not: over HTTP/3
    /// none's are.
    const AFTER_UNREADABLE: u32 = 1000;
    /// What tells of changes that were made to a request's headers on its way through the host.
    pub const ORIGINALS: [(&str, &str); 2] =
        [("x-envoy-original-path", ":path"), ("x-envoy-original-host", ":authority")];

    /// Asks for this. `names` are the headers that somebody reads.
    #[must_use]
    pub fn new(needs: Needs, names: HeaderNames) -> Self {
        Self { needs, names, last: Needed::NoMore, early: Self::FIRST }
    }

    /// Looks at the headers, as far as has to be. `is_enough`, if that may be, says whether the values of a carrier are all that has to
    /// be known.
    pub fn look(
        &self,
        request: &impl RequestSource,
        is_enough: Option<impl Fn(&[u8]) -> bool>,
    ) -> Look {
        if let (HeaderNeeds::Nothing | HeaderNeeds::Presence(_), Needed::NoMore) =
            (&self.needs.headers, self.last)
        {
            let mut names = self.carriers().iter();
            if let Some(is_enough) = is_enough {
                match names.find_map(|name| request.header(name)) {
                    None => return Look::NoCarrier,
                    Some(carrier) if is_enough(&carrier) => return Look::Enough,
                    Some(_) => {}
                }
            } else if !names.any(|name| request.has_header(name)) {
                return Look::NoCarrier;
            }
        }
        Look::Headers(self.all_headers(request))
    }

    fn carriers(&self) -> &[&'static str] {
        match &self.needs.headers {
            HeaderNeeds::Presence(names) => names,
            HeaderNeeds::Nothing | HeaderNeeds::All => &[],
        }
    }

    /// The headers that somebody reads.
    pub fn all_headers(&self, request: &impl RequestSource) -> Headers {
        self.selected(request.headers())
    }

    /// Those of all headers that somebody reads.
    #[must_use]
    pub fn selected(&self, headers: HeaderMap) -> Headers {
        Headers::select(headers, &self.names)
    }

    /// Whether the headers of each request have to be known before it is decided.
    #[must_use]
    pub fn decides_by_headers(&self) -> bool {
        self.needs.headers == HeaderNeeds::All
    }

    /// What a sampler needs beside the parent: the headers of a request, Envoy's attributes in the order of the needs as far as they may be
    /// asked for, the time.
    pub fn facts<'a>(
        &self,
        request: &impl RequestSource,
        headers: Option<&'a Headers>,
        may_be_asked: impl Fn(&str) -> bool,
    ) -> (Option<&'a Headers>, Vec<(&'static str, Vec<u8>)>, Option<Duration>) {
        let headers = headers.filter(|_| self.decides_by_headers());
        let attributes = self.needs.attributes.iter();
        let read = |name: &&'static str| {
            (*name, if may_be_asked(name) { request.attribute(name) } else { Vec::new() })
        };
        let attributes = attributes.map(read).collect();
        let now = match self.needs.time {
            TimeNeed::None => None,
            TimeNeed::Now => Some(request.now()),
        };
        (headers, attributes, now)
    }

    /// Whether the headers of this request, of which nothing is known yet, can be read when it has ended, if they are needed then.
    pub fn reads_late(&mut self, request: &impl RequestSource) -> bool {
        self.early = self.early.saturating_sub(1);
        // What was changed before tells nothing of changes that are to come.
        self.early == 0 && !Self::ORIGINALS.iter().any(|(name, _)| request.has_header(name))
    }

    /// The headers of a request that has ended, as they were when it started: as far as the host tells what it has changed.
    #[must_use]
    pub fn headers_at_end(&self, headers: HeaderMap) -> Headers {
        let mut headers = Headers::select(headers, &self.names);
        for (name, changed) in Self::ORIGINALS {
            let original = headers.first(name).to_vec();
            if !original.is_empty() {
                headers.set(changed, &original);
            }
        }
        headers
    }

    /// Notes that the headers of a request can't be read now that it has ended.
    pub fn note_unreadable(&mut self) {
        self.early = Self::AFTER_UNREADABLE;
    }

    /// Notes what the last request needed in the end, for the next one.
    pub fn note(&mut self, needed: Needed) {
        self.last = needed;
    }
}

#[cfg(test)]
mod tests;

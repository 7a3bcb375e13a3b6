//! What has to be known of a request before it is decided, and how it is asked for at the lowest price.
//!
//! Who asks (`propagation`, `sampling`) says what it needs; the host calls themselves are the filter's part.

use crate::envoy::headers::{HeaderNames, Headers};
use crate::envoy::wire::HeaderMap;
use std::time::Duration;

/// A request that starts, as whoever holds it can be asked. Each answer has a price: a host call.
pub trait RequestSource {
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
    /// Asks for this. `names` are the headers that somebody reads.
    #[must_use]
    pub fn new(needs: Needs, names: HeaderNames) -> Self {
        Self { needs, names, last: Needed::NoMore }
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
        Headers::select(request.headers(), &self.names)
    }

    /// What a sampler needs beside the parent: the headers of a request, Envoy's attributes in the order of the needs, the time.
    pub fn facts<'a>(
        &self,
        request: &impl RequestSource,
        headers: Option<&'a Headers>,
    ) -> (Option<&'a Headers>, Vec<(&'static str, Vec<u8>)>, Option<Duration>) {
        let headers = headers.filter(|_| self.needs.headers == HeaderNeeds::All);
        let attributes = self.needs.attributes.iter();
        let attributes = attributes.map(|name| (*name, request.attribute(name))).collect();
        let now = match self.needs.time {
            TimeNeed::None => None,
            TimeNeed::Now => Some(request.now()),
        };
        (headers, attributes, now)
    }

    /// Notes what the last request needed in the end, for the next one.
    pub fn note(&mut self, needed: Needed) {
        self.last = needed;
    }
}

#[cfg(test)]
mod tests;

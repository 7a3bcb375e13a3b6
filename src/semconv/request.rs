//! The headers of a request that the conventions ask for, found in one pass.

use super::address::{self, Origin};
use super::forwarded::Forwarded;
use super::target::Target;
use crate::envoy::headers::Headers;
use std::borrow::Cow;

/// A request's headers of interest. Texts are empty where the header is absent; of several headers
/// with one name the first counts.
#[derive(Clone, Debug, Default)]
pub struct RequestHeaders<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// The path of `:path`.
    pub path: &'a [u8],
    /// The query of `:path`, without its question mark.
    pub query: Option<&'a [u8]>,
    /// `:authority`, which Envoy fills from `Host`.
    pub authority: &'a [u8],
    /// `user-agent`.
    pub user_agent: &'a [u8],
    /// `:scheme`, which Envoy fills from the connection or the route, unless it answers before.
    pub scheme: &'a [u8],
    /// The scheme and the authority of `:path`, where that is in the absolute form.
    target_scheme: &'a [u8],
    target_authority: &'a [u8],
    /// `content-type`.
    pub content_type: &'a [u8],
    forwarded: &'a [u8],
    x_forwarded_for: &'a [u8],
    x_forwarded_host: &'a [u8],
    x_forwarded_proto: &'a [u8],
}

/// What a request's headers say that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestProtocol {
    /// Plain HTTP.
    Http,
    /// gRPC.
    Grpc,
}

impl RequestProtocol {
    /// What kind of request this is (gRPC over HTTP/2, Requests): a gRPC call is a POST of the content type `application/grpc`,
    /// maybe with `+` or `;` after, to `/package.Service/Method`.
    #[must_use]
    pub fn of(headers: &Headers) -> Self {
        let mut types = headers.all("content-type").filter(|value| !value.is_empty());
        let is_grpc = is_grpc(types.next().unwrap_or_default());
        let is_call = || {
            headers.first(":method") == b"POST"
                && RequestHeaders::read(headers.iter()).grpc_method().is_some()
        };
        if is_grpc && is_call() { Self::Grpc } else { Self::Http }
    }
}

impl<'a> RequestHeaders<'a> {
    /// The names that [`RequestHeaders::read`] looks for.
    pub const NAMES: [&'static str; 10] = [
        ":method",
        ":path",
        ":authority",
        ":scheme",
        "user-agent",
        "content-type",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];

    /// Reads (name, value) pairs with lowercase names.
    #[must_use]
    pub fn read(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut request = Self::default();
        for (name, value) in headers {
            let field = match name {
                b":method" => Some(&mut request.method),
                b":path" => Some(&mut request.path),
                b":authority" => Some(&mut request.authority),
                b":scheme" => Some(&mut request.scheme),
                b"user-agent" => Some(&mut request.user_agent),
                b"content-type" => Some(&mut request.content_type),
                b"forwarded" => Some(&mut request.forwarded),
                b"x-forwarded-for" => Some(&mut request.x_forwarded_for),
                b"x-forwarded-host" => Some(&mut request.x_forwarded_host),
                b"x-forwarded-proto" => Some(&mut request.x_forwarded_proto),
                _ => None,
            };
            if let Some(field) = field.filter(|field| field.is_empty()) {
                *field = value;
            }
        }
        let Target { scheme, authority, path, query } = Target::parse(request.path);
        (request.target_scheme, request.target_authority) = (scheme, authority);
        (request.path, request.query) = (path, query);
        request
    }

    /// `package.Service/Method`, if the path has exactly these two segments.
    #[must_use]
    pub fn grpc_method(&self) -> Option<&'a [u8]> {
        let method = self.path.strip_prefix(b"/")?;
        let mut segments = method.split(|byte| *byte == b'/');
        let is_call = [segments.next()?, segments.next()?].iter().all(|it| !it.is_empty());
        (is_call && segments.next().is_none()).then_some(method)
    }

    /// What the `Forwarded` header says; nothing if it is malformed.
    #[must_use]
    pub fn forwarded(&self) -> Forwarded<'a> {
        Forwarded::parse(self.forwarded).unwrap_or_default()
    }

    /// The original client: `Forwarded`, `X-Forwarded-For`; else it is the peer.
    #[must_use]
    pub fn client_address(&self, forwarded: &Forwarded<'a>) -> Option<Cow<'a, [u8]>> {
        let told = forwarded.client.as_ref().and_then(address::forwarded_for);
        told.or_else(|| address::first_forwarded_for(self.x_forwarded_for).map(Cow::Borrowed))
    }

    /// Where the original request was for. Its scheme: `Forwarded`, `X-Forwarded-Proto`, the request's own; its
    /// server: `Forwarded`, `X-Forwarded-Host`, the request's own.
    #[must_use]
    pub fn original(&self, forwarded: &Forwarded<'a>) -> Origin<'a> {
        let Origin { scheme, authority } = self.called();
        let told = forwarded.proto.as_deref().and_then(|told| self.believed(told));
        let told = told.or_else(|| self.believed(address::first_entry(self.x_forwarded_proto)));
        let host = (forwarded.host.clone())
            .or(non_empty(address::first_entry(self.x_forwarded_host)).map(Cow::Borrowed));
        Origin { scheme: told.unwrap_or(scheme), authority: host.unwrap_or(authority) }
    }

    /// Where the request goes on to, whatever is said of the original one.
    #[must_use]
    pub fn called(&self) -> Origin<'a> {
        let scheme = self.told_scheme().unwrap_or(Cow::Borrowed(b"http"));
        Origin { scheme, authority: Cow::Borrowed(self.authority()) }
    }

    /// The scheme that the request has. A request that Envoy answers before it has filled `:scheme` may still have the
    /// absolute form, or `X-Forwarded-Proto`, from which Envoy would have filled it.
    #[must_use]
    pub fn told_scheme(&self) -> Option<Cow<'a, [u8]>> {
        let told = [self.target_scheme, address::first_entry(self.x_forwarded_proto)];
        let told = || told.into_iter().find_map(known_scheme).map(Cow::Borrowed);
        non_empty(self.scheme).map(scheme).or_else(told)
    }

    /// The authority of the target in the absolute form, which goes before any other (RFC 9112, section 3.2.2); else `:authority`.
    fn authority(&self) -> &'a [u8] {
        non_empty(self.target_authority).unwrap_or(self.authority)
    }

    /// The scheme that a header tells of, if it is one of HTTP's, or the one that the request has.
    fn believed(&self, told: &[u8]) -> Option<Cow<'a, [u8]>> {
        let same = !told.is_empty() && told.eq_ignore_ascii_case(self.scheme);
        known_scheme(told).map(Cow::Borrowed).or_else(|| same.then(|| scheme(self.scheme)))
    }
}

/// Whether it is the content type `application/grpc`, maybe with `+` or `;` after.
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    match content_type.strip_prefix(b"application/grpc") {
        Some([]) => true,
        Some([next, ..]) => b"+;".contains(next),
        None => false,
    }
}

/// A scheme in lower case, as all are (RFC 3986, section 3.1).
fn scheme(value: &[u8]) -> Cow<'_, [u8]> {
    if value.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(value.to_ascii_lowercase())
    } else {
        Cow::Borrowed(value)
    }
}

/// A scheme of HTTP or of WebSocket, in any case.
fn known_scheme(value: &[u8]) -> Option<&'static [u8]> {
    const KNOWN: [&[u8]; 4] = [b"http", b"https", b"ws", b"wss"];
    KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(value))
}

fn non_empty(value: &[u8]) -> Option<&[u8]> {
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::wire::HeaderMap;

    fn read<'a>(headers: &'a [(&'a str, &'a str)]) -> RequestHeaders<'a> {
        let pairs = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        RequestHeaders::read(pairs)
    }

    #[test]
    fn addresses_come_from_the_best_source() {
        let forwarded = ("forwarded", "for=10.0.0.1;host=f.example;proto=https");
        let (xff, xfh, xfp) = (
            ("x-forwarded-for", "10.0.0.2, 10.0.0.3"),
            ("x-forwarded-host", "x.example:81"),
            ("x-forwarded-proto", "https"),
        );
        let (authority, scheme) = ((":authority", "a.example:82"), (":scheme", "http"));
        let cases: &[(&[(&str, &str)], Option<&str>, &str, &str, &str)] = &[
            (
                &[authority, scheme, xff, xfh, xfp, forwarded],
                Some("10.0.0.1"),
                "f.example",
                "https",
                "Forwarded first",
            ),
            (
                &[authority, scheme, xff, xfh, xfp],
                Some("10.0.0.2"),
                "x.example",
                "https",
                "X-Forwarded next",
            ),
            (&[authority, scheme], None, "a.example", "http", "the request itself last"),
            (&[], None, "", "http", "nothing"),
        ];
        for (headers, client, server, scheme, reason) in cases {
            let request = read(headers);
            let forwarded = request.forwarded();
            let address = request.client_address(&forwarded);
            assert_eq!(address.as_deref(), client.map(str::as_bytes), "{reason}");
            let original = request.original(&forwarded);
            assert_eq!(original.server().host, server.as_bytes(), "{reason}");
            assert_eq!(&*original.scheme, scheme.as_bytes(), "{reason}");
        }
    }

    #[test]
    fn schemes_are_lower_case_and_those_of_strangers_are_known_ones() {
        // `:scheme`, Forwarded's proto, X-Forwarded-Proto; the original scheme, the called one.
        let cases = [
            ("http", "HTTPS", "", "https", "http", "Forwarded in upper case"),
            ("http", "", "Https", "https", "http", "X-Forwarded-Proto in mixed case"),
            ("HTTPS", "", "", "https", "https", "the request's own in upper case"),
            ("http", "ws", "wss", "ws", "http", "a WebSocket"),
            ("http", "", "wss, http", "wss", "http", "the first of a list"),
            ("http", "javascript", "", "http", "http", "not a scheme of HTTP"),
            ("http", "ftp", "https", "https", "http", "nor this, but the next source's is"),
            ("http", "", "<script>", "http", "http", "no scheme at all"),
            ("http", "", " , https", "http", "http", "an empty entry"),
            ("FTP", "ftp", "", "ftp", "ftp", "what the request really has"),
            ("ftp", "Gopher", "FTP", "ftp", "ftp", "told by either header"),
            ("ftp", "FTP", "https", "ftp", "ftp", "the first that is believed"),
            ("", "", "HTTPS", "https", "https", "X-Forwarded-Proto, where there is no other"),
            ("", "https", "", "https", "http", "where there is none at all"),
            ("", "ftp", "ftp", "http", "http", "nor one that is believed"),
        ];
        for (scheme, proto, x_forwarded_proto, original, called, reason) in cases {
            let forwarded = format!("proto={proto}");
            let headers = [
                (":scheme", scheme),
                ("forwarded", if proto.is_empty() { "" } else { &forwarded }),
                ("x-forwarded-proto", x_forwarded_proto),
            ];
            let request = read(&headers);
            let found = request.original(&request.forwarded()).scheme;
            assert_eq!(&*found, original.as_bytes(), "{reason}");
            assert_eq!(&*request.called().scheme, called.as_bytes(), "{reason}");
        }
    }

    #[test]
    fn a_scheme_may_be_told_by_the_target_alone() {
        let cases = [
            ("HTTPS://h/", "", Some("https"), "the absolute form"),
            ("ftp://h/", "https", Some("https"), "of another scheme"),
            ("https://h/", "http", Some("https"), "before X-Forwarded-Proto"),
            ("/", "http", Some("http"), "X-Forwarded-Proto"),
            ("/", "", None, "nothing"),
        ];
        for (path, proto, expected, reason) in cases {
            let headers = [(":path", path), ("x-forwarded-proto", proto)];
            let told = read(&headers).told_scheme();
            assert_eq!(told.as_deref(), expected.map(str::as_bytes), "{reason}");
        }
    }

    #[test]
    fn grpc_is_recognized() {
        let (post, grpc) = ((":method", "POST"), ("content-type", "application/grpc+proto"));
        let call = (":path", "/a.B/C");
        let cases: &[(&[(&str, &str)], bool, &str)] = &[
            (&[post, call, grpc], true, "gRPC"),
            (&[post, call, ("content-type", "application/grpc")], true, "plain gRPC"),
            (&[post, call, ("content-type", "application/grpc;a=b")], true, "with a parameter"),
            (&[post, call, ("content-type", "application/grpc-web")], false, "gRPC-Web is another"),
            (&[post, call, ("content-type", "application/x-protobuf")], false, "plain HTTP"),
            (&[post, call], false, "no content type"),
            (&[(":method", "GET"), call, grpc], false, "gRPC is a POST"),
            (&[post, (":path", "/a.B"), grpc], false, "one segment"),
            (&[post, (":path", "/a.B/C/d"), grpc], false, "three segments"),
            (&[post, (":path", "/a.B/C/"), grpc], false, "a slash at the end"),
            (&[post, (":path", "/a.B/"), grpc], false, "an empty method"),
            (&[post, (":path", "//C"), grpc], false, "an empty service"),
            (&[post, (":path", "a.B/C"), grpc], false, "no slash before it"),
            (&[post, (":path", "/"), grpc], false, "a slash alone"),
            (&[post, (":path", "/a.B/C?/d"), grpc], true, "a query is no segment"),
            (&[post, grpc], false, "no path"),
            (&[post, call, ("content-type", ""), grpc], true, "an empty type first"),
            (&[post, call, ("content-type", "text/plain"), grpc], false, "another type first"),
        ];
        for (headers, is_grpc, reason) in cases {
            let names = RequestHeaders::NAMES.into_iter().collect();
            let headers = Headers::select(HeaderMap::of(headers), &names);
            assert_eq!(
                RequestProtocol::of(&headers) == RequestProtocol::Grpc,
                *is_grpc,
                "{reason}"
            );
        }
    }

    #[test]
    fn every_name_is_read() {
        for name in RequestHeaders::NAMES {
            let request = RequestHeaders::read([(name.as_bytes(), b"x".as_slice())].into_iter());
            let nothing = RequestHeaders::read(std::iter::empty());
            assert_ne!(format!("{request:?}"), format!("{nothing:?}"), "{name}");
        }
    }
}

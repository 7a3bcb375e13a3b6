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
    stranger: &'a [u8],
}

/// What a request's headers say that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestProtocol {
    /// Plain HTTP.
    Http,
    /// gRPC.
    Grpc,
    /// gRPC-Web, whose trailers are in the body.
    GrpcWeb,
    /// Connect, whose errors are in the body.
    Connect,
}

impl RequestProtocol {
    /// The header that a unary Connect call has.
    pub const CONNECT_VERSION: &'static str = "connect-protocol-version";

    /// What kind of request this is, as far as its content type tells: a call of a method, or plain HTTP. gRPC over HTTP/2, Requests, and
    /// gRPC-Web: a POST of the type `application/grpc` or `application/grpc-web`. Connect Protocol Reference: a POST of a type for streams,
    /// or with the protocol's version; [`RequestHeaders::protocol`] knows its GET.
    #[must_use]
    pub fn of(headers: &Headers) -> Self {
        let mut types = headers.all("content-type").filter(|value| !value.is_empty());
        match types.next().and_then(|it| it.strip_prefix(b"application/")) {
            Some(subtype) => Self::of_call(subtype, headers),
            None => Self::Http,
        }
    }

    #[inline(never)] // Most requests are no calls.
    fn of_call(subtype: &[u8], headers: &Headers) -> Self {
        let of_web = |rest: &[u8]| is_end_of_name(rest.strip_prefix(b"-text").unwrap_or(rest));
        let protocol = if is_grpc(subtype) {
            Self::Grpc
        } else if subtype.strip_prefix(b"grpc-web").is_some_and(of_web) {
            Self::GrpcWeb
        } else if subtype.starts_with(b"connect+")
            || !subtype.starts_with(b"grpc-web") && headers.first(Self::CONNECT_VERSION) == b"1"
        {
            Self::Connect
        } else {
            return Self::Http;
        };
        let request = RequestHeaders::read(headers.iter());
        let is_call = request.method == b"POST" && request.rpc_method(protocol).is_some();
        if is_call { protocol } else { Self::Http }
    }
}

/// Whether a name of a content type is over here: what follows is nothing, its format or a parameter.
fn is_end_of_name(rest: &[u8]) -> bool {
    rest.first().is_none_or(|next| b"+;".contains(next))
}

impl<'a> RequestHeaders<'a> {
    /// Whoever knows that the caller is not to be believed adds this to the headers, with the scheme of the connection: then no header
    /// counts that tells where a request comes from, or what it was for. No client can send it.
    pub const STRANGER: &'static str = ":stranger";

    /// The names that [`RequestHeaders::read`] looks for.
    pub const NAMES: [&'static str; 11] = [
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
        Self::STRANGER,
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
                b":stranger" => Some(&mut request.stranger),
                _ => None,
            };
            if let Some(field) = field.filter(|field| field.is_empty()) {
                *field = value;
            }
        }
        let Target { scheme, authority, path, query } = Target::parse(request.path);
        (request.target_scheme, request.target_authority) = (scheme, authority);
        (request.path, request.query) = (path, query);
        if !request.stranger.is_empty() {
            (request.forwarded, request.x_forwarded_for) = (&[], &[]);
            (request.x_forwarded_host, request.x_forwarded_proto) = (&[], &[]);
        }
        request
    }

    /// What kind of request this is, if this is what its content type tells: a GET of Connect's has the protocol's version in its query.
    #[must_use]
    pub fn protocol(&self, told: RequestProtocol) -> RequestProtocol {
        // It has an encoding and a message, too. Most queries are shorter.
        const SHORTEST: usize = b"connect=v1&encoding=a&message=".len();
        match self.query {
            Some(query) if query.len() >= SHORTEST => self.protocol_by(query, told),
            _ => told,
        }
    }

    #[inline(never)] // As it says.
    fn protocol_by(&self, query: &[u8], told: RequestProtocol) -> RequestProtocol {
        let is_connect = told == RequestProtocol::Http
            && self.method == b"GET"
            && query.split(|byte| *byte == b'&').any(|it| it == b"connect=v1")
            && self.rpc_method(RequestProtocol::Connect).is_some();
        if is_connect { RequestProtocol::Connect } else { told }
    }

    /// `package.Service/Method`: the only two segments of the path; of Connect, where a prefix may stand before them, the last two.
    #[must_use]
    pub fn rpc_method(&self, protocol: RequestProtocol) -> Option<&'a [u8]> {
        let path = self.path.strip_prefix(b"/")?;
        let mut segments = path.rsplit(|byte| *byte == b'/');
        let (method, service) = (segments.next()?, segments.next()?);
        let has_prefix = segments.next().is_some();
        let is_call = !method.is_empty() && !service.is_empty();
        let length = service.len() + 1 + method.len();
        match protocol {
            RequestProtocol::Grpc | RequestProtocol::GrpcWeb if has_prefix => None,
            RequestProtocol::Http => None,
            _ if !is_call => None,
            _ => path.get(path.len().checked_sub(length)?..),
        }
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
        if let Some(of_connection) = non_empty(self.stranger) {
            return Origin { scheme: Cow::Borrowed(of_connection), authority };
        }
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

/// Whether what stands after `application/` is `grpc`, maybe with `+` or `;` after.
pub(super) fn is_grpc(subtype: &[u8]) -> bool {
    subtype.strip_prefix(b"grpc").is_some_and(is_end_of_name)
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
    fn calls_are_recognized() {
        use RequestProtocol::{Connect, Grpc, GrpcWeb, Http};
        let (post, get) = ((":method", "POST"), (":method", "GET"));
        let grpc = ("content-type", "application/grpc+proto");
        let (call, version) = ((":path", "/a.B/C"), ("connect-protocol-version", "1"));
        let path = |path| (":path", path);
        let of_type = |value| ("content-type", value);
        let json = of_type("application/json");
        let cases: &[(&[(&str, &str)], RequestProtocol, &str)] = &[
            (&[post, call, grpc], Grpc, "gRPC"),
            (&[post, call, of_type("application/grpc")], Grpc, "plain gRPC"),
            (&[post, call, of_type("application/grpc;a=b")], Grpc, "with a parameter"),
            (&[post, call, of_type("application/x-protobuf")], Http, "plain HTTP"),
            (&[post, call, of_type("application/grpcs")], Http, "another type"),
            (&[post, call], Http, "no content type"),
            (&[get, call, grpc], Http, "gRPC is a POST"),
            (&[post, path("/a.B"), grpc], Http, "one segment"),
            (&[post, path("/a.B/C/d"), grpc], Http, "three segments"),
            (&[post, path("/a.B/C/"), grpc], Http, "a slash at the end"),
            (&[post, path("/a.B/"), grpc], Http, "an empty method"),
            (&[post, path("//C"), grpc], Http, "an empty service"),
            (&[post, path("a.B/C"), grpc], Http, "no slash before it"),
            (&[post, path("/"), grpc], Http, "a slash alone"),
            (&[post, path("/a.B/C?/d"), grpc], Grpc, "a query is no segment"),
            (&[post, grpc], Http, "no path"),
            (&[post, call, of_type(""), grpc], Grpc, "an empty type first"),
            (&[post, call, of_type("text/plain"), grpc], Http, "another type first"),
            (&[post, call, of_type("application/grpc-web")], GrpcWeb, "gRPC-Web"),
            (&[post, call, of_type("application/grpc-web+proto")], GrpcWeb, "with its format"),
            (&[post, call, of_type("application/grpc-web-text")], GrpcWeb, "as text"),
            (&[post, call, of_type("application/grpc-web-text+proto")], GrpcWeb, "both"),
            (&[post, call, of_type("application/grpc-website")], Http, "another type"),
            (&[get, call, of_type("application/grpc-web")], Http, "gRPC-Web is a POST"),
            (&[post, path("/a/a.B/C"), of_type("application/grpc-web")], Http, "three segments"),
            (&[post, call, json, version], Connect, "a unary call"),
            (&[post, call, of_type("application/proto"), version], Connect, "in binary"),
            (&[post, path("/api/a.B/C"), json, version], Connect, "under a prefix"),
            (&[post, path("/a.B/C/"), json, version], Http, "no method"),
            (&[post, path("/a.B"), json, version], Http, "no service"),
            (&[post, call, json], Http, "no version"),
            (&[post, call, json, ("connect-protocol-version", "2")], Http, "another version"),
            (&[post, call, of_type("text/plain"), version], Http, "no type of Connect's"),
            (&[post, call, grpc, version], Grpc, "gRPC's type says more than a header"),
            (&[post, call, of_type("application/connect+json")], Connect, "a stream"),
            (&[get, call, of_type("application/connect+json")], Http, "a stream is a POST"),
            (&[get, path("/a.B/C?encoding=a&connect=v1&message=")], Connect, "a GET"),
            (&[get, path("/a.B/C?connect=v11&encoding=a&message=")], Http, "another version in it"),
            (&[get, path("/a.B/C?a=connect=v1&encoding=a&message=")], Http, "another parameter"),
            (&[get, path("/a.B/C?encoding=json&connect=v1")], Http, "no message"),
            (&[get, path("/C?encoding=a&connect=v1&message=")], Http, "one segment"),
            (&[get, path("/connect=v1?a")], Http, "no query"),
            (
                &[post, path("/a.B/C?connect=v1&encoding=a&message=")],
                Http,
                "a POST has a content type",
            ),
        ];
        for (headers, expected, reason) in cases {
            let names = RequestHeaders::NAMES.into_iter().chain([RequestProtocol::CONNECT_VERSION]);
            let headers = Headers::select(HeaderMap::of(headers), &names.collect());
            let read = RequestHeaders::read(headers.iter());
            assert_eq!(read.protocol(RequestProtocol::of(&headers)), *expected, "{reason}");
        }
    }

    #[test]
    fn a_method_is_two_segments() {
        use RequestProtocol::{Connect, Grpc, Http};
        let cases = [
            (Grpc, "/a.B/C", Some("a.B/C"), "gRPC"),
            (Grpc, "/api/a.B/C", None, "gRPC has no prefix"),
            (Connect, "/a.B/C", Some("a.B/C"), "Connect"),
            (Connect, "/api/v1/a.B/C?x=/y", Some("a.B/C"), "Connect may have one"),
            (Connect, "/api//C", None, "no service"),
            (Connect, "/C", None, "one segment"),
            (Http, "/a.B/C", None, "no call"),
        ];
        for (protocol, path, expected, reason) in cases {
            let headers = [(":path", path)];
            let method = read(&headers).rpc_method(protocol);
            assert_eq!(method, expected.map(str::as_bytes), "{reason}");
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

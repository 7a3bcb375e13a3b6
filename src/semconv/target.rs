//! The target of a request, whatever its form (RFC 9112, section 3.2): where it is for, its path and its query.
//!
//! What is secret in a query is not known here (`redaction`).

/// A target, taken apart. What its form does not have is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target<'a> {
    /// The scheme, of the absolute form alone.
    pub scheme: &'a [u8],
    /// The authority, of the absolute form alone; it may have user information.
    pub authority: &'a [u8],
    /// The path; `*` of the asterisk form.
    pub path: &'a [u8],
    /// The query, without its question mark.
    pub query: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    /// Takes a target apart. A fragment is no part of one, and is left out: it may hold what only its user agent should know.
    #[must_use]
    pub fn parse(target: &'a [u8]) -> Self {
        let (target, _fragment) = split_at_any(target, b"#");
        let (hierarchy, query) = split_at_any(target, b"?");
        let query = query.strip_prefix(b"?");
        let (head, path) = split_at_any(hierarchy, b"/");
        let scheme = head.strip_suffix(b":").filter(|scheme| is_scheme(scheme));
        if let (Some(scheme), Some(rest)) = (scheme, path.strip_prefix(b"//")) {
            // An absolute form without a path is one for the root (RFC 9110, section 4.2.3).
            let (authority, path) = split_at_any(rest, b"/");
            let path = if path.is_empty() { b"/" } else { path };
            return Self { scheme, authority, path, query };
        }
        // What could be an authority, with user information before it, is no part of a path.
        let path = if head.iter().any(|byte| b":@".contains(byte)) { path } else { hierarchy };
        Self { path, query, ..Self::default() }
    }
}

/// `scheme` (RFC 3986, section 3.1).
fn is_scheme(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    text.first().is_some_and(u8::is_ascii_alphabetic) && text.iter().all(is_part)
}

/// What is before the first of these bytes, and the rest from there on.
fn split_at_any<'a>(text: &'a [u8], bytes: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = text.iter().position(|byte| bytes.contains(byte)).unwrap_or(text.len());
    text.split_at_checked(at).unwrap_or((text, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_are_taken_apart() {
        // Scheme, authority, path, query.
        let cases: &[(&str, &str, &str, &str, Option<&str>, &str)] = &[
            ("/", "", "", "/", None, "the root"),
            ("/a/b?c=d", "", "", "/a/b", Some("c=d"), "a path and a query"),
            ("/a?b?c", "", "", "/a", Some("b?c"), "a question mark in a query"),
            ("/a?", "", "", "/a", Some(""), "an empty query"),
            ("/a:b@c", "", "", "/a:b@c", None, "a path that has what authorities have"),
            ("//u:p@h/x", "", "", "//u:p@h/x", None, "a path that looks like more"),
            ("/a?u=http://u:p@h/", "", "", "/a", Some("u=http://u:p@h/"), "a URL in a query"),
            ("*", "", "", "*", None, "the server as a whole"),
            ("http://u:p@h:80/x?y=z", "http", "u:p@h:80", "/x", Some("y=z"), "the absolute form"),
            ("HTTPS://h", "HTTPS", "h", "/", None, "without a path"),
            ("http://h?y=z", "http", "h", "/", Some("y=z"), "without a path, with a query"),
            ("http:///x", "http", "", "/x", None, "without an authority"),
            ("http://u:p@", "http", "u:p@", "/", None, "without a host"),
            ("git+ssh.2-x://h/x", "git+ssh.2-x", "h", "/x", None, "any scheme"),
            ("u:p@h:443", "", "", "", None, "the authority form"),
            ("u:p@h/x?y", "", "", "/x", Some("y"), "what begins with an authority"),
            ("mailto:p@h", "", "", "", None, "a URL without slashes"),
            ("1p://h/x", "", "", "//h/x", None, "no scheme"),
            ("a/b", "", "", "a/b", None, "a path without its slash"),
            ("/a#b?c", "", "", "/a", None, "a fragment"),
            ("/a?b#c", "", "", "/a", Some("b"), "after a query"),
            ("http://h#f", "http", "h", "/", None, "of the absolute form"),
            ("", "", "", "", None, "nothing"),
        ];
        for (target, scheme, authority, path, query, reason) in cases {
            let expected = Target {
                scheme: scheme.as_bytes(),
                authority: authority.as_bytes(),
                path: path.as_bytes(),
                query: query.map(str::as_bytes),
            };
            assert_eq!(Target::parse(target.as_bytes()), expected, "{reason}: {target}");
        }
    }

    proptest! {
        #[test]
        fn no_user_information_is_in_a_path_or_a_query(
            scheme in "([a-z][a-z0-9+.-]{0,5}:(//)?)?",
            user in "[A-Za-z0-9:%._~!$&'()*+,;=-]{0,9}",
            rest in "(:[0-9]{0,3})?([/?#][a-z/?#=&]{0,9})?",
        ) {
            let target = format!("{scheme}{user}SECRET@h{rest}");
            let Target { path, query, .. } = Target::parse(target.as_bytes());
            for part in [path, query.unwrap_or_default()] {
                let part = String::from_utf8_lossy(part);
                prop_assert!(!part.contains("SECRET"), "{target}: {part}");
            }
        }

        #[test]
        fn any_bytes_are_survived(target: Vec<u8>) {
            let Target { path, query, .. } = Target::parse(&target);
            prop_assert!(path.len() + query.map_or(0, |it| it.len() + 1) <= target.len().max(1));
        }
    }
}

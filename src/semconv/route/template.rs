//! A path template, such as `/users/{id}` or `/static/{*path}`: how it is written, and what it is made of.
//!
//! Which requests one matches is not known here.

/// How many segments a template has at most.
pub const MAX_SEGMENTS: usize = 64;

/// A template, and the methods that it is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Template {
    text: Box<str>, // Invariant: `check` takes it.
    methods: Vec<String>,
}

/// A segment of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    /// This one and no other.
    Static(&'a [u8]),
    /// `{name}`: any one that is not empty.
    Parameter(&'a [u8]),
    /// `{*name}`: what is left of a path, if that is not empty.
    CatchAll(&'a [u8]),
}

/// Why a text is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// It does not begin with a slash.
    NoSlash,
    /// A character that no path has: a control character, a space, `?` or `#`.
    Character,
    /// More than [`MAX_SEGMENTS`] segments.
    TooLong,
    /// A brace that is not the first or the last character of its segment, or has no other one.
    Brace,
    /// A segment that begins with `:` or `*`, which mean parameters elsewhere.
    OtherSyntax,
    /// A name that is empty, or has other characters than letters, digits, `_`, `-` and `.`.
    Name,
    /// A name that stands twice.
    Repeated,
    /// A catch-all before the last segment.
    CatchAllNotLast,
}

impl Template {
    /// A template for requests with one of these methods, or with any method if there are none.
    ///
    /// # Errors
    /// The text is no template.
    pub fn parse(text: &str, methods: Vec<String>) -> Result<Self, TemplateError> {
        check(text.as_bytes())?;
        Ok(Self { text: text.into(), methods })
    }

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is for all methods.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        self.methods.is_empty()
    }

    /// Whether it names this method.
    #[must_use]
    pub fn names(&self, method: &[u8]) -> bool {
        self.methods.iter().any(|known| known.as_bytes() == method)
    }

    /// Whether another template of the same shape is for the same method: both for all methods, or both naming one.
    #[must_use]
    pub fn shares_a_method(&self, other: &Self) -> bool {
        let is_shared = self.methods.iter().any(|method| other.names(method.as_bytes()));
        is_shared || self.is_for_all() && other.is_for_all()
    }
}

impl<'a> Segment<'a> {
    /// What a segment of a template means.
    #[must_use]
    pub(super) fn of(segment: &'a [u8]) -> Self {
        match segment {
            [b'{', b'*', name @ .., b'}'] => Self::CatchAll(name),
            [b'{', name @ .., b'}'] => Self::Parameter(name),
            text => Self::Static(text),
        }
    }
}

/// The first segment of a path without its first slash, and what is behind it, if there is a slash.
#[must_use]
#[inline(never)]
pub(super) fn split_first(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
    let (segment, rest) = path.split_at_checked(end).unwrap_or((path, &[]));
    (segment, rest.split_first().map(|(_slash, rest)| rest))
}

#[inline(never)]
fn check(text: &[u8]) -> Result<(), TemplateError> {
    let mut rest = Some(text.strip_prefix(b"/").ok_or(TemplateError::NoSlash)?);
    if text.iter().any(|byte| *byte <= b' ' || b"\x7f?#".contains(byte)) {
        return Err(TemplateError::Character);
    }
    let mut names = Vec::new();
    let mut count = 0;
    while let Some(path) = rest {
        let (segment, after) = split_first(path);
        rest = after;
        count += 1;
        if count > MAX_SEGMENTS {
            return Err(TemplateError::TooLong);
        }
        let segment = Segment::of(segment);
        let (Segment::Static(inner) | Segment::Parameter(inner) | Segment::CatchAll(inner)) =
            segment;
        if inner.iter().any(|byte| b"{}".contains(byte)) {
            return Err(TemplateError::Brace);
        }
        if let Segment::Static(text) = segment {
            match text {
                [b':' | b'*', ..] => return Err(TemplateError::OtherSyntax),
                _ => continue,
            }
        }
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
        if inner.is_empty() || !inner.iter().all(is_part) {
            return Err(TemplateError::Name);
        }
        if names.contains(&inner) {
            return Err(TemplateError::Repeated);
        }
        if rest.is_some() && matches!(segment, Segment::CatchAll(_)) {
            return Err(TemplateError::CatchAllNotLast);
        }
        names.push(inner);
    }
    Ok(())
}

impl TemplateError {
    /// What was found.
    #[must_use]
    pub fn found(self) -> &'static str {
        match self {
            Self::NoSlash => "a string that does not begin with a slash",
            Self::Character => "a string with a space, a control character, ? or #",
            Self::TooLong => "a template of more than 64 segments",
            Self::Brace => "a brace that is not at an end of its segment, or stands alone",
            Self::OtherSyntax => "a segment that begins with : or *",
            Self::Name => "a parameter without a name, or with other characters in it",
            Self::Repeated => "a name that stands twice",
            Self::CatchAllNotLast => "a catch-all that is not the last segment",
        }
    }
}

//! Where the filter stands, and what that means for a span: in a cluster it sees each attempt of Envoy's router, and the attempts of a request
//! are children of the same span.
//!
//! Envoy tells a filter nowhere in which of the two chains it stands, and gives filters with the same configuration one root context, wherever
//! they stand. But it numbers attempts, and asking for the number of one has a price. A request in a listener's chain has none, so it is not
//! asked for where nothing speaks for an attempt.

use super::Tracer;
use crate::context::SpanContext;
use crate::envoy::attempt::{Attempt, EXPECTED_TIMEOUT};
use crate::envoy::connections::is_of_peers;
use crate::envoy::headers::Headers;
use crate::id::SpanId;
use crate::probe::RequestSource;
use crate::semconv::SpanKindSetting;
use crate::span::OpenSpan;

/// Where the filter stands, as far as was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// Each of so many more requests is asked whether it is an attempt.
    Unknown(u8),
    /// In a listener's chain. Where filters in clusters share its configuration, and so its root context, they see requests that bear its context.
    Chain,
    /// In a cluster, and maybe in a listener's chain, too: each request is asked.
    Cluster,
}

impl Placement {
    /// After so many requests that were no attempts, the filter stands in a listener's chain.
    pub(super) const NEW: Self = Self::Unknown(16);

    /// What is known after one more request was asked.
    fn after(self, attempt: Option<Attempt>) -> Self {
        match (self, attempt) {
            (Self::Cluster, _) | (_, Some(_)) => Self::Cluster,
            (Self::Unknown(0 | 1) | Self::Chain, None) => Self::Chain,
            (Self::Unknown(more), None) => Self::Unknown(more - 1),
        }
    }
}

/// What the attempts of a request leave each other, since they share its headers: which context was written last, and which span was there
/// before. The host keeps it with the request, where no caller can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    written: SpanId,
    parent: Option<SpanId>,
}

impl Lineage {
    /// What a span leaves, if it is one of an attempt.
    #[must_use]
    pub fn of(span: &OpenSpan) -> Option<Self> {
        let lineage = Self { written: span.context().span_id, parent: span.parent() };
        span.attempt().map(|_| lineage)
    }

    /// As it is kept.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let (written, parent) = bytes.split_at_mut(8);
        written.copy_from_slice(self.written.as_bytes());
        if let Some(id) = self.parent {
            parent.copy_from_slice(id.as_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let ([written, parent], []) = bytes.as_chunks::<8>() else { return None };
        Some(Self { written: SpanId::from_bytes(*written)?, parent: SpanId::from_bytes(*parent) })
    }
}

impl Tracer {
    /// Which attempt this request is, if it is one. `parent` is the context that it bears.
    #[inline]
    pub(super) fn attempt(
        &mut self,
        request: &impl RequestSource,
        parent: Option<&SpanContext>,
    ) -> Option<Attempt> {
        let is_asked = match self.placement {
            Placement::Unknown(_) | Placement::Cluster => true,
            Placement::Chain => parent.is_some_and(|parent| self.ids.may_have_made(parent.span_id)),
        };
        if is_asked { self.ask_attempt(request) } else { None }
    }

    #[inline(never)] // A request in a listener's chain has no part in it.
    fn ask_attempt(&mut self, request: &impl RequestSource) -> Option<Attempt> {
        let attempt = request.attempt();
        self.placement = self.placement.after(attempt);
        attempt
    }

    /// The span above the one of this request. `bearer` is the one that its headers name.
    pub(super) fn parent_of(
        request: &impl RequestSource,
        attempt: Option<Attempt>,
        bearer: SpanId,
    ) -> Option<SpanId> {
        let lineage = attempt.and_then(|_| Lineage::read(&request.lineage()));
        match lineage {
            Some(lineage) if lineage.written == bearer => lineage.parent,
            _ => Some(bearer),
        }
    }

    /// What kind the span will be.
    pub(super) fn kind_of(&self, attempt: Option<Attempt>) -> SpanKindSetting {
        if attempt.is_some() { SpanKindSetting::Client } else { self.span_kind }
    }
}

/// Whether the filter in the listener's chain has a CLIENT span of the request that this attempt is one of, and nobody has a span in between:
/// it is left alone then.
pub(super) fn is_told_by_chain(
    request: &impl RequestSource,
    attempt: Option<Attempt>,
    parent: Option<&SpanContext>,
) -> bool {
    attempt.is_some()
        && parent
            .is_some_and(|parent| SpanId::from_hex(&request.client_span()) == Some(parent.span_id))
}

/// The same attempt, with what its headers say of it.
pub(super) fn with_headers(attempt: Option<Attempt>, headers: Option<&Headers>) -> Option<Attempt> {
    let timeout = headers.map_or(&[][..], |headers| headers.first(EXPECTED_TIMEOUT));
    attempt.map(|attempt| attempt.expecting(timeout))
}

/// Whether a request may be asked for one of Envoy's attributes: an attempt for none of its peers, since it may be one of a shadow request.
pub(super) fn may_be_asked(attempt: Option<Attempt>, name: &str) -> bool {
    attempt.is_none() || !is_of_peers(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lineage_is_kept_in_sixteen_bytes() {
        let id = |byte| SpanId::from_bytes([byte; 8]);
        for parent in [None, id(3)] {
            let lineage = Lineage { written: id(2).expect("not zero"), parent };
            assert_eq!(Lineage::read(&lineage.to_bytes()), Some(lineage));
        }
        for (bytes, reason) in [(&[][..], "none"), (&[1; 8][..], "cut"), (&[0; 16][..], "zeros")] {
            assert_eq!(Lineage::read(bytes), None, "{reason}");
        }
    }

    #[test]
    fn a_filter_stands_in_a_chain_until_it_sees_an_attempt() {
        let attempt = Attempt::read(&[1, 0, 0, 0, 0, 0, 0, 0]);
        let after = |requests: usize, from: Placement| {
            (0..requests).fold(from, |placement, _| placement.after(None))
        };
        assert_eq!(after(15, Placement::NEW), Placement::Unknown(1));
        assert_eq!(after(16, Placement::NEW), Placement::Chain);
        assert_eq!(after(99, Placement::NEW).after(attempt), Placement::Cluster, "a shared one");
        assert_eq!(after(99, Placement::NEW.after(attempt)), Placement::Cluster, "for good");
    }
}

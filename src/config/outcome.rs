//! `envoy.details` and `envoy.start_time`: what is read of how a request ended.

use super::cursor::{Cursor, Object};
use super::error::ConfigError;
use super::words::{Words, joined, meaning};
use crate::envoy::attributes::{Detail, Details};
use crate::outcome::{OutcomeConfig, StartTime, Tags};

const START_TIMES: &Words<StartTime> =
    &[("auto", StartTime::Auto), ("filter", StartTime::Filter), ("request", StartTime::Request)];
const DETAILS: &Words<Details> = &[("always", Details::ALL), ("failures", Details::NONE)];
/// As spans call them.
const DETAIL: &Words<Detail> = &[
    ("envoy.response_code_details", Detail::ResponseCodeDetails),
    ("envoy.route_name", Detail::RouteName),
    ("envoy.cluster_name", Detail::ClusterName),
    ("envoy.upstream_address", Detail::UpstreamAddress),
    ("envoy.request_attempt_count", Detail::RequestAttemptCount),
];

#[inline(never)]
pub(super) fn read(envoy: &mut Object<'_>) -> Result<OutcomeConfig, ConfigError> {
    let details = envoy.take_as("details", details)?;
    let start_time = envoy.take_word("start_time", START_TIMES, &[])?;
    Ok(OutcomeConfig {
        details: details.unwrap_or(Details::ALL),
        start_time: start_time.unwrap_or(StartTime::Auto),
        tags: Tags::Unread,
    })
}

fn details(cursor: &Cursor<'_>) -> Result<Details, ConfigError> {
    let accepted = || {
        let words = joined(DETAILS, ", ");
        cursor.refuse(&format!("{words}; or a list of {}", joined(DETAIL, ", ")))
    };
    if let Ok(word) = cursor.text() {
        return meaning(DETAILS, word).ok_or_else(accepted);
    }
    let items = cursor.items().map_err(|_| accepted())?;
    let mut details = Details::NONE;
    for item in items {
        details = details.with(item.word(DETAIL, &[])?);
    }
    Ok(details)
}

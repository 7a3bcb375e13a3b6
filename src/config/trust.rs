//! `envoy.incoming`, `envoy.outgoing` and `envoy.expose`: whose contexts are continued, who gets ours, and who is told of it.

use super::cursor::{Cursor, Object};
use super::error::ConfigError;
use super::sampler::rules::texts;
use super::words::Words;
use crate::sampling::Pattern;
use crate::trust::network::Network;
use crate::trust::{Borders, Incoming, Outgoing, Worth};

const WORTHS: &Words<Worth> =
    &[("continue", Worth::Continue), ("restart", Worth::Restart), ("ignore", Worth::Ignore)];
const OF_OTHERS: &Words<Worth> = &[("restart", Worth::Restart), ("ignore", Worth::Ignore)];
const OUTGOING: &Words<fn() -> Outgoing> =
    &[("inject", || Outgoing::Inject), ("strip", || Outgoing::Strip)];
/// Whether it is filter state.
const EXPOSED: &Words<bool> = &[("filter_state", true), ("server_timing", false)];

#[inline(never)] // As all readers of a room.
pub(super) fn read(envoy: &mut Object<'_>) -> Result<Box<Borders>, ConfigError> {
    let mut borders = Box::<Borders>::default();
    if let Some(told) = envoy.take("incoming") {
        incoming(&told, &mut borders.incoming)?;
    }
    if let Some(told) = envoy.take("outgoing") {
        outgoing(&told, &mut borders.outgoing)?;
    }
    if let Some(told) = envoy.take("expose") {
        for item in told.items()? {
            let is_filter_state = item.word(EXPOSED, &[])?;
            borders.exposure.filter_state |= is_filter_state;
            borders.exposure.server_timing |= !is_filter_state;
        }
    }
    Ok(borders)
}

#[inline(never)] // As all readers of a room.
fn incoming(told: &Cursor<'_>, incoming: &mut Incoming) -> Result<(), ConfigError> {
    if told.is_object() {
        return told.object(|told| by_caller(told, incoming));
    }
    incoming.others = told.word(WORTHS, &[])?;
    Ok(())
}

#[inline(never)] // As all readers of a room.
fn outgoing(told: &Cursor<'_>, outgoing: &mut Outgoing) -> Result<(), ConfigError> {
    *outgoing = if told.is_object() {
        let clusters = told.object(|told| texts(&told.take_needed("strip_clusters")))?;
        Outgoing::StripClusters(clusters.into_iter().map(Pattern::new).collect())
    } else {
        told.word(OUTGOING, &[])?()
    };
    Ok(())
}

#[inline(never)] // As all readers of a room.
fn by_caller(told: &mut Object<'_>, incoming: &mut Incoming) -> Result<(), ConfigError> {
    let trusted = told.take_needed("trusted");
    let others = told.take_word("others", OF_OTHERS, &[])?;
    incoming.others = others.unwrap_or(Worth::Restart);
    trusted.object(|kinds| {
        incoming.trusts_certificates = kinds.take_bool("client_certificate")?.unwrap_or_default();
        let Some(list) = kinds.take("addresses") else { return Ok(()) };
        networks(&list, &mut incoming.trusted_networks)
    })?;
    if !incoming.trusts_certificates && incoming.trusted_networks.is_empty() {
        return Err(trusted.refuse("an object with client_certificate: true, or with addresses"));
    }
    Ok(())
}

#[inline(never)] // As all readers of a room.
fn networks(list: &Cursor<'_>, networks: &mut Vec<Network>) -> Result<(), ConfigError> {
    for item in list.some_items()? {
        let Some(network) = Network::parse(item.text()?) else {
            return Err(item
                .refuse("a network, such as 10.0.0.0/8 or fd00::/8, with zeros behind its bits"));
        };
        networks.push(network);
    }
    Ok(())
}

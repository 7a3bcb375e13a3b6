//! `envoy.incoming`, `envoy.outgoing` and `envoy.expose`: whose contexts are continued, who gets ours, and who is told of it.

use super::cursor::{Cursor, Object};
use super::error::ConfigError;
use super::sampler::rules::texts;
use super::words::{Words, meaning};
use crate::propagation::expose::Exposure;
use crate::sampling::Pattern;
use crate::trust::network::Network;
use crate::trust::{Borders, Incoming, Outgoing, Worth};

const WORTHS: &Words<Worth> =
    &[("continue", Worth::Continue), ("restart", Worth::Restart), ("ignore", Worth::Ignore)];
const OF_OTHERS: &Words<Worth> = &[("restart", Worth::Restart), ("ignore", Worth::Ignore)];
const OUTGOING: &Words<fn() -> Outgoing> =
    &[("inject", || Outgoing::Inject), ("strip", || Outgoing::Strip)];
/// Who is told.
const EXPOSED: &Words<fn(&mut Exposure)> = &[
    ("filter_state", |it| it.filter_state = true),
    ("server_timing", |it| it.server_timing = true),
];

#[inline(never)] // As all readers of a room.
pub(super) fn read(envoy: &mut Object<'_>) -> Result<Option<Box<Borders>>, ConfigError> {
    let mut borders: Option<Box<Borders>> = None;
    for (key, read) in KEYS {
        if let Some(told) = envoy.take(key) {
            read(&told, borders.get_or_insert_default())?;
        }
    }
    Ok(borders.filter(|borders| !borders.are_open()))
}

/// What reads a key.
type Read = fn(&Cursor<'_>, &mut Borders) -> Result<(), ConfigError>;

const KEYS: [(&str, Read); 3] = [
    ("incoming", |told, borders| incoming(told, &mut borders.incoming)),
    ("outgoing", |told, borders| outgoing(told, &mut borders.outgoing)),
    ("expose", |told, borders| {
        for item in told.items()? {
            item.word(EXPOSED, &[])?(&mut borders.exposure);
        }
        Ok(())
    }),
];

#[inline(never)] // As all readers of a room.
fn incoming(told: &Cursor<'_>, incoming: &mut Incoming) -> Result<(), ConfigError> {
    if told.is_object() {
        return told.object(|told| by_caller(told, incoming));
    }
    let worth = told.text().ok().and_then(|word| meaning(WORTHS, word));
    incoming.others =
        worth.ok_or_else(|| told.refuse("continue, restart, ignore; or an object with trusted"))?;
    Ok(())
}

#[inline(never)] // As all readers of a room.
fn outgoing(told: &Cursor<'_>, outgoing: &mut Outgoing) -> Result<(), ConfigError> {
    *outgoing = if told.is_object() {
        let clusters = told.object(|told| texts(&told.take_needed("strip_clusters")))?;
        Outgoing::StripClusters(clusters.into_iter().map(Pattern::new).collect())
    } else {
        let word = told.text().ok().and_then(|word| meaning(OUTGOING, word));
        word.ok_or_else(|| told.refuse("inject, strip; or an object with strip_clusters"))?()
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
        let Some(network) = Network::parse(item.text()?.as_bytes()) else {
            return Err(item
                .refuse("a network, such as 10.0.0.0/8 or fd00::/8, with zeros behind its bits"));
        };
        networks.push(network);
    }
    Ok(())
}

//! What a connection fixes for all its requests, read once.
//!
//! Envoy numbers the connections of a process, and no number comes twice. What may change is read for each request: a peer where Envoy
//! may take it from a header, and all of QUIC's, whose connections move and whose numbers are hashes.

use super::wire::number;
use std::rc::Rc;

const CONNECTION_ID: &str = "connection.id";
/// The other end of the connection, or what a header said of it.
pub const SOURCE_ADDRESS: &str = "source.address";
/// The version of HTTP, such as `HTTP/1.1`.
pub const PROTOCOL: &str = "request.protocol";
/// Which side of the mesh the listener faces.
pub const LISTENER_DIRECTION: &str = "xds.listener_direction";

/// Whether an attribute is one of the downstream connection's addresses. An Envoy that is asked for one crashes where there is no such
/// connection, as of a shadow request.
#[must_use]
pub fn is_of_peers(attribute: &str) -> bool {
    attribute.starts_with("source.") || attribute.starts_with("destination.")
}

/// Which side of the mesh a listener faces (Envoy, `TrafficDirection`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficDirection {
    /// Not said.
    #[default]
    Unspecified,
    /// Requests come in from elsewhere.
    Inbound,
    /// Requests go out from the service beside.
    Outbound,
}

impl TrafficDirection {
    /// What the value of `xds.listener_direction` says.
    #[must_use]
    pub fn read(value: &[u8]) -> Self {
        match number(value) {
            1 => Self::Inbound,
            2 => Self::Outbound,
            _ => Self::Unspecified,
        }
    }
}

/// The connection that a request came over. Texts are empty where Envoy says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// `source.address`, with its port: zero of an address that was forwarded.
    pub source_address: Rc<[u8]>,
    /// `request.protocol`, such as `HTTP/1.1`.
    pub protocol: Rc<[u8]>,
    /// `xds.listener_direction`.
    pub listener_direction: TrafficDirection,
}

/// The connections of a worker that were seen last.
#[derive(Debug, Default)]
pub struct Connections {
    /// Each has one place, by its number. Who comes later to the same one takes it.
    places: Vec<Option<Known>>,
    peers: Peers,
}

#[derive(Clone, Debug)]
struct Known {
    id: u64,
    connection: Connection,
    /// How many of its requests have come since its peer was read.
    requests: u8,
}

/// What `source.address` is, as far as was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Peers {
    /// The other end of the connection.
    #[default]
    Connected,
    /// At times one that came in a header.
    Forwarded,
}

impl Connections {
    /// How many are known at once.
    const PLACES: u64 = 1024;
    /// One in so many requests of a connection is asked for its peer all the same: that one is forwarded may be seen late, as where a load
    /// balancer's own checks come first.
    const PEER_CHECK: u8 = 16;

    /// The connection of the current request.
    pub fn of(&mut self, attribute: impl Fn(&str) -> Vec<u8>) -> Connection {
        let id = number(&attribute(CONNECTION_ID));
        let place = usize::try_from(id % Self::PLACES).unwrap_or_default();
        let known = self.places.get_mut(place).and_then(Option::as_mut);
        if let Some(known) = known.filter(|known| known.id == id) {
            known.requests += 1;
            if self.peers == Peers::Connected && known.requests < Self::PEER_CHECK {
                return known.connection.clone();
            }
            known.requests = 0;
            let source_address = attribute(SOURCE_ADDRESS);
            if source_address != *known.connection.source_address {
                self.peers = Peers::Forwarded;
            }
            return Connection {
                source_address: source_address.into(),
                ..known.connection.clone()
            };
        }
        // A stream of Envoy's own, such as a shadow request, has no connection, and an Envoy that is asked for its addresses crashes.
        let source_address = if id == 0 { Vec::new() } else { attribute(SOURCE_ADDRESS) };
        let connection = Connection {
            source_address: source_address.into(),
            protocol: attribute(PROTOCOL).into(),
            listener_direction: TrafficDirection::read(&attribute(LISTENER_DIRECTION)),
        };
        if connection.source_address.ends_with(b":0") {
            self.peers = Peers::Forwarded;
        }
        // Zero is no number: Envoy does not know it. HTTP/1.0 and HTTP/1.1 may share a connection.
        let is_fixed = id != 0 && matches!(&*connection.protocol, b"HTTP/1.1" | b"HTTP/2");
        if is_fixed {
            if self.places.len() <= place {
                self.places.resize(place + 1, None);
            }
            if let Some(place) = self.places.get_mut(place) {
                *place = Some(Known { id, connection: connection.clone(), requests: 0 });
            }
        }
        connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A request over a connection: its number, its peer, its protocol.
    fn request(
        connections: &mut Connections,
        (id, peer, protocol): (u64, &str, &str),
    ) -> (String, Vec<String>) {
        let asked = RefCell::new(Vec::new());
        let connection = connections.of(|name| {
            asked.borrow_mut().push(name.to_owned());
            match name {
                CONNECTION_ID if id == 0 => Vec::new(),
                CONNECTION_ID => id.to_le_bytes().to_vec(),
                SOURCE_ADDRESS => peer.into(),
                PROTOCOL => protocol.into(),
                LISTENER_DIRECTION => 2_u64.to_le_bytes().to_vec(),
                _ => panic!("{name}"),
            }
        });
        assert_eq!(connection.listener_direction, TrafficDirection::Outbound);
        assert_eq!(&*connection.protocol, protocol.as_bytes());
        (String::from_utf8(connection.source_address.to_vec()).expect("text"), asked.into_inner())
    }

    const ALL: [&str; 4] = [CONNECTION_ID, SOURCE_ADDRESS, PROTOCOL, LISTENER_DIRECTION];

    #[test]
    fn a_connection_is_read_once() {
        let mut connections = Connections::default();
        let (one, other) = ((7, "10.0.0.1:1", "HTTP/1.1"), (8, "10.0.0.2:2", "HTTP/2"));
        for (connection, asked, reason) in [
            (one, &ALL[..], "the first request"),
            (one, &ALL[..1], "the second one"),
            (other, &ALL[..], "of another connection"),
            (one, &ALL[..1], "both are known"),
            (other, &ALL[..1], "both are known"),
        ] {
            let (peer, found) = request(&mut connections, connection);
            assert_eq!(peer, connection.1, "{reason}");
            assert_eq!(found, asked, "{reason}");
        }
    }

    #[test]
    fn what_may_change_is_read_each_time() {
        let address: &[&str] = &ALL[..2];
        for (id, peers, protocol, asked, reason) in [
            (7, ["10.0.0.1:0", "10.0.0.2:0"], "HTTP/1.1", address, "a peer that is forwarded"),
            (7, ["10.0.0.1:1", "10.0.0.2:2"], "HTTP/3", &ALL, "QUIC: a connection that moves"),
            (7, ["10.0.0.1:1", "10.0.0.2:2"], "HTTP/1.0", &ALL, "another may follow"),
            (7, ["10.0.0.1:1", "10.0.0.2:2"], "", &ALL, "a protocol that Envoy does not tell"),
        ] {
            let mut connections = Connections::default();
            assert_eq!(request(&mut connections, (id, peers[0], protocol)).1, ALL, "{reason}");
            let (peer, found) = request(&mut connections, (id, peers[1], protocol));
            assert_eq!(peer, peers[1], "{reason}");
            assert_eq!(found, asked, "{reason}");
        }
    }

    #[test]
    fn what_has_no_connection_is_not_asked_for_its_peer() {
        let asked = [CONNECTION_ID, PROTOCOL, LISTENER_DIRECTION].map(str::to_owned);
        let mut connections = Connections::default();
        for _ in 0..2 {
            let found = request(&mut connections, (0, "10.0.0.1:1", "HTTP/2"));
            assert_eq!(found, (String::new(), asked.to_vec()), "that would crash Envoy");
        }
    }

    #[test]
    fn where_one_peer_is_forwarded_each_one_is_read() {
        let mut connections = Connections::default();
        request(&mut connections, (7, "10.0.0.1:1", "HTTP/1.1"));
        request(&mut connections, (8, "10.9.9.9:0", "HTTP/1.1"));
        for peer in ["10.8.8.8:0", "10.0.0.1:1"] {
            let (found, asked) = request(&mut connections, (7, peer, "HTTP/1.1"));
            assert_eq!((found.as_str(), asked.as_slice()), (peer, &ALL.map(String::from)[..2]));
        }
    }

    #[test]
    fn a_peer_that_is_forwarded_later_is_found() {
        let mut connections = Connections::default();
        let (check, client) = ((7, "10.0.0.1:1", "HTTP/1.1"), (7, "203.0.113.9:5678", "HTTP/1.1"));
        request(&mut connections, check);
        let peers: Vec<_> = (0..17).map(|_| request(&mut connections, client).0).collect();
        assert_eq!(peers[..15], ["10.0.0.1:1"; 15], "as the connection's");
        assert_eq!(peers[15..], [client.1; 2], "it was looked at");
        assert_eq!(request(&mut connections, check).0, check.1, "from then on each one is");
    }

    #[test]
    fn more_connections_than_places_are_told_apart() {
        let mut connections = Connections::default();
        for round in 0..3 {
            for id in 1..=3 * Connections::PLACES {
                let peer = format!("10.0.0.1:{id}");
                let found = request(&mut connections, (id, &peer, "HTTP/1.1")).0;
                assert_eq!(found, peer, "round {round}");
            }
        }
        let places = usize::try_from(Connections::PLACES).expect("few");
        assert_eq!(connections.places.len(), places, "no more are held");
    }

    #[test]
    fn a_direction_is_one_of_two() {
        let cases = [
            (0_u64, TrafficDirection::Unspecified, "not said"),
            (1, TrafficDirection::Inbound, "inbound"),
            (2, TrafficDirection::Outbound, "outbound"),
            (3, TrafficDirection::Unspecified, "a direction of a later Envoy"),
        ];
        for (value, expected, reason) in cases {
            assert_eq!(TrafficDirection::read(&value.to_le_bytes()), expected, "{reason}");
        }
    }
}

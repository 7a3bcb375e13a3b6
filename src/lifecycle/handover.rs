//! What a filter leaves to the one that takes its place: requests that were not delivered, each as one message of
//! the host's queue.
//!
//! It knows neither when that happens nor the queue; the module that reads a message may be a later version than the
//! one that wrote it.

/// The first byte of a message. Another one is another layout, but the number of spans stays where it is.
const LAYOUT: u8 = 1;

/// A request that was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// How many spans it holds.
    pub spans: usize,
    /// An `ExportTraceServiceRequest`.
    pub request: Vec<u8>,
}

/// The host did not take what was left to another filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTaken;

/// So many spans are in a message that can't be read: its layout is that of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// How many spans are lost.
    pub spans: usize,
}

/// The message for a request of so many spans: the layout, the number (little-endian, 32 bits), the request.
#[must_use]
pub fn message(spans: usize, request: &[u8]) -> Vec<u8> {
    let number = u32::try_from(spans).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(5 + request.len());
    message.push(LAYOUT);
    message.extend(number.to_le_bytes());
    message.extend(request);
    message
}

impl Unsent {
    /// Reads a message.
    ///
    /// # Errors
    /// It has another layout, or none at all.
    pub fn read(message: &[u8]) -> Result<Self, Unreadable> {
        let Some(([layout, number @ ..], request)) = message.split_first_chunk::<5>() else {
            return Err(Unreadable { spans: 0 });
        };
        let spans = usize::try_from(u32::from_le_bytes(*number)).unwrap_or(usize::MAX);
        if *layout != LAYOUT {
            return Err(Unreadable { spans });
        }
        Ok(Self { spans, request: request.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_can_t_be_read_is_counted_as_far_as_it_says() {
        let cases: &[(&[u8], Result<Unsent, Unreadable>, &str)] = &[
            (&[1, 2, 0, 0, 0, 7], Ok(Unsent { spans: 2, request: vec![7] }), "a request"),
            (&[1, 0, 1, 0, 0], Ok(Unsent { spans: 256, request: vec![] }), "an empty one"),
            (&[2, 3, 0, 0, 0, 7], Err(Unreadable { spans: 3 }), "of a later version"),
            (&[1, 2, 0, 0], Err(Unreadable { spans: 0 }), "too short"),
            (&[], Err(Unreadable { spans: 0 }), "nothing"),
        ];
        for (message, expected, reason) in cases {
            assert_eq!(Unsent::read(message), *expected, "{reason}");
        }
    }

    proptest! {
        #[test]
        fn messages_round_trip(spans in 0_usize..1 << 32, request: Vec<u8>) {
            let read = Unsent::read(&message(spans, &request));
            prop_assert_eq!(read, Ok(Unsent { spans, request }));
        }
    }
}

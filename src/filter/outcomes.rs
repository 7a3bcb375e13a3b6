//! How a request ended, as the host tells it: all attributes in one CEL expression where the host has that, else one by one.

use super::source::attribute;
use crate::envoy::attributes::{OUTCOME, OutcomeValues};
use crate::host;

/// Reads outcomes.
#[derive(Debug)]
pub(super) struct OutcomeReader {
    expression: Option<[u8; 4]>,
}

impl OutcomeReader {
    /// Prepares the expression. For the root context: its streams share it.
    pub(super) fn new() -> Self {
        let expression = format!("[{}]", OUTCOME.join(", "));
        let token = host::foreign_function("expr_create", expression.as_bytes());
        Self { expression: token.and_then(|token| token.first_chunk().copied()) }
    }

    /// The attributes' values, when the request has ended.
    pub(super) fn read(&self) -> OutcomeValues {
        let evaluate = |token: [u8; 4]| host::foreign_function("expr_evaluate", &token);
        let list = self.expression.and_then(evaluate);
        let singly = || OutcomeValues::Single(OUTCOME.iter().map(|name| attribute(name)).collect());
        list.map_or_else(singly, OutcomeValues::List)
    }
}

impl Drop for OutcomeReader {
    fn drop(&mut self) {
        if let Some(token) = self.expression {
            host::foreign_function("expr_delete", &token);
        }
    }
}

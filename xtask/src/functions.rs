//! Functions that are there twice, or nearly, and the order of all: what makes a linked module smaller and changes nothing that it does.
//!
//! A function that is the same as another, instruction for instruction, is dropped, and who calls it calls the other. Of those that differ
//! in constants alone, `similar` makes one. Those that are called from the most places come first: an index below 128 is a byte shorter in
//! each call.

mod similar;

use anyhow::{Result, anyhow};
use std::collections::HashMap;
use std::convert::Infallible;
use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{CodeSection, FunctionSection, Module};
use wasmparser::{
    CodeSectionReader, FunctionBody, FunctionSectionReader, Operator, Parser, Payload, TypeRef,
};

/// The same module, with each function once and in the order that makes it smallest.
pub(crate) fn compacted(module: &[u8]) -> Result<Vec<u8>> {
    let mut compacted = module.to_vec();
    // Two functions may be the same once what they call is.
    while let Some(merged) = Functions::of(&compacted)?.without_doubles() {
        compacted = merged.applied(&compacted)?;
    }
    let compacted = similar::shared(&compacted)?;
    Functions::of(&compacted)?.by_calls()?.applied(&compacted)
}

/// What is read of a module: its functions that are not imported, in their order.
struct Functions<'a> {
    imported: usize,
    /// Each one's type, and the body with its locals.
    defined: Vec<(u32, FunctionBody<'a>)>,
}

impl<'a> Functions<'a> {
    fn of(module: &'a [u8]) -> Result<Self> {
        let (mut imported, mut types, mut bodies) = (0, Vec::new(), Vec::new());
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        imported += usize::from(matches!(import?.ty, TypeRef::Func(_)));
                    }
                }
                Payload::FunctionSection(section) => {
                    types = section.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::CodeSectionEntry(body) => bodies.push(body),
                _ => {}
            }
        }
        Ok(Self { imported, defined: types.into_iter().zip(bodies).collect() })
    }

    /// Each function once, in their order; `None` if each is.
    fn without_doubles(&self) -> Option<Renumbering> {
        let mut first_of: HashMap<(u32, &[u8]), usize> = HashMap::new();
        let mut order = Vec::new();
        let mut places = Vec::new();
        for (at, (of_type, body)) in self.defined.iter().enumerate() {
            let place = *first_of.entry((*of_type, body.as_bytes())).or_insert_with(|| {
                order.push(at);
                order.len() - 1
            });
            places.push(place);
        }
        let found = order.len() < self.defined.len();
        found.then_some(Renumbering { imported: self.imported, order, places })
    }

    /// All of them, those first that are called from the most places.
    fn by_calls(&self) -> Result<Renumbering> {
        let mut calls = vec![0_usize; self.defined.len()];
        for (_, body) in &self.defined {
            for operator in body.get_operators_reader()? {
                if let Operator::Call { function_index } = operator?
                    && let Some(at) = (function_index as usize).checked_sub(self.imported)
                {
                    calls[at] += 1;
                }
            }
        }
        let mut order: Vec<usize> = (0..calls.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(calls[at]));
        let mut places = vec![0; order.len()];
        for (place, &at) in order.iter().enumerate() {
            places[at] = place;
        }
        Ok(Renumbering { imported: self.imported, order, places })
    }
}

/// Which functions a module gets, and what stands for each that it had. Imported ones stay where they are.
struct Renumbering {
    imported: usize,
    /// Of each function that is written: where it stood.
    order: Vec<usize>,
    /// Of each function that was there: where the one stands that is called for it.
    places: Vec<usize>,
}

impl Renumbering {
    fn applied(mut self, module: &[u8]) -> Result<Vec<u8>> {
        let mut renumbered = Module::new();
        self.parse_core_module(&mut renumbered, Parser::new(0), module)
            .map_err(|error| anyhow!("renumbering the functions: {error}"))?;
        Ok(renumbered.finish())
    }
}

impl Reencode for Renumbering {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error<Infallible>> {
        Ok(match (function as usize).checked_sub(self.imported) {
            None => function,
            Some(at) => u32::try_from(self.imported + self.places[at]).expect("fewer than before"),
        })
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        let types: Vec<u32> = section.into_iter().collect::<Result<_, _>>()?;
        for &at in &self.order {
            functions.function(types[at]);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        let bodies: Vec<FunctionBody<'_>> = section.into_iter().collect::<Result<_, _>>()?;
        for at in self.order.clone() {
            self.parse_function_body(code, bodies[at].clone())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

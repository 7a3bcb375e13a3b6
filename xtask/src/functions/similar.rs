//! Functions that differ in constants alone, as those do that panic with a place in the source: what they do is written once, in a function
//! that takes the constants as further parameters, and each of them calls it.

use super::Functions;
use anyhow::{Context, Result, anyhow};
use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{CodeSection, Function, FunctionSection, Instruction, Module, TypeSection};
use wasmparser::{
    CodeSectionReader, FuncType, FunctionBody, FunctionSectionReader, Operator, Parser, Payload,
    TypeSectionReader, ValType,
};

/// What another function takes of the module beside its body, at most: its type, and numbers that become longer.
const OVERHEAD: usize = 16;

/// The same module, with what is similar written once where that makes it smaller.
pub(super) fn shared(module: &[u8]) -> Result<Vec<u8>> {
    let functions = Functions::of(module)?;
    let types = types(module)?;
    let first = u32::try_from(functions.imported + functions.defined.len())?;
    let mut sharing = Sharing { types: Vec::new(), callers: HashMap::new(), called: Vec::new() };
    for alike in alike(&functions)? {
        let (of_type, body) = &functions.defined[alike[0].0];
        let signature = types.get(*of_type as usize).context("a function of no type")?;
        let varying = Varying::of(&alike);
        let called = called(signature, body, &varying)?;
        let index = first + u32::try_from(sharing.called.len())?;
        let callers: Vec<_> = (alike.iter())
            .map(|(at, constants)| (*at, caller(signature, &varying.of_one(constants), index)))
            .collect();
        let before: usize =
            alike.iter().map(|(at, _)| functions.defined[*at].1.as_bytes().len()).sum();
        let after: usize = callers.iter().map(|(_, caller)| caller.byte_len()).sum();
        if before > after + called.byte_len() + OVERHEAD {
            let constants = std::iter::repeat_n(ValType::I32, varying.parameters.len());
            let parameters = signature.params().iter().copied().chain(constants);
            sharing.types.push(FuncType::new(parameters, signature.results().iter().copied()));
            sharing.callers.extend(callers);
            sharing.called.push((u32::try_from(types.len() + sharing.types.len() - 1)?, called));
        }
    }
    let mut shared = Module::new();
    sharing
        .parse_core_module(&mut shared, Parser::new(0), module)
        .map_err(|error| anyhow!("sharing what is similar: {error}"))?;
    Ok(shared.finish())
}

fn types(module: &[u8]) -> Result<Vec<FuncType>> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::TypeSection(section) = payload? {
            return Ok(section.into_iter_err_on_gc_types().collect::<Result<_, _>>()?);
        }
    }
    Ok(Vec::new())
}

/// A function by its place, and its constants in their order.
type Constants = (usize, Vec<i32>);

/// The groups of functions that are the same but for their constants, in the order of their first ones.
fn alike(functions: &Functions<'_>) -> Result<Vec<Vec<Constants>>> {
    let mut groups: Vec<Vec<Constants>> = Vec::new();
    let mut group_of = HashMap::new();
    for (at, (of_type, body)) in functions.defined.iter().enumerate() {
        let (mut rest, mut constants) = (Vec::<u8>::new(), Vec::new());
        let start = body.range().start;
        let mut operators = body.get_operators_reader()?;
        rest.extend(&body.as_bytes()[..operators.original_position() - start]);
        while !operators.eof() {
            let from = operators.original_position() - start;
            let operator = operators.read()?;
            let mut end = operators.original_position() - start;
            if let Operator::I32Const { value } = operator {
                constants.push(value);
                end = from + 1; // The instruction without its constant.
            }
            rest.extend(&body.as_bytes()[from..end]);
        }
        let group = *group_of.entry((*of_type, rest)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push((at, constants));
    }
    groups.retain(|group| group.len() > 1);
    Ok(groups)
}

/// Which of their constants functions differ in.
struct Varying {
    /// Of each constant: which parameter it becomes, if it is not the same for all.
    places: Vec<Option<usize>>,
    /// Of each parameter: one of the constants that it is.
    parameters: Vec<usize>,
}

impl Varying {
    fn of(alike: &[Constants]) -> Self {
        let mut varying = Self { places: Vec::new(), parameters: Vec::new() };
        let mut parameter_of = HashMap::new();
        for constant in 0..alike[0].1.len() {
            let values: Vec<i32> = alike.iter().map(|(_, constants)| constants[constant]).collect();
            let differs = values.iter().collect::<BTreeSet<_>>().len() > 1;
            varying.places.push(differs.then(|| {
                *parameter_of.entry(values).or_insert_with(|| {
                    varying.parameters.push(constant);
                    varying.parameters.len() - 1
                })
            }));
        }
        varying
    }

    /// What one of the functions gives for the parameters.
    fn of_one(&self, constants: &[i32]) -> Vec<i32> {
        self.parameters.iter().map(|&constant| constants[constant]).collect()
    }
}

/// What is left of a function: it calls the one of this index with its own parameters and these constants.
fn caller(signature: &FuncType, constants: &[i32], index: u32) -> Function {
    let mut caller = Function::new([]);
    for (parameter, _) in (0..).zip(signature.params()) {
        caller.instruction(&Instruction::LocalGet(parameter));
    }
    for constant in constants {
        caller.instruction(&Instruction::I32Const(*constant));
    }
    caller.instruction(&Instruction::Call(index)).instruction(&Instruction::End);
    caller
}

/// What is called: one of the functions, with parameters behind its own for the constants in which they differ.
fn called(signature: &FuncType, body: &FunctionBody<'_>, varying: &Varying) -> Result<Function> {
    let own = u32::try_from(signature.params().len())?;
    let further = u32::try_from(varying.parameters.len())?;
    let local = |index: u32| if index < own { index } else { index + further };
    let mut same = wasm_encoder::reencode::RoundtripReencoder;
    let failed = |error| anyhow!("sharing what is similar: {error}");
    let mut called = same.new_function_with_parsed_locals(body).map_err(failed)?;
    let mut places = varying.places.iter();
    for operator in body.get_operators_reader()? {
        called.instruction(&match same.instruction(operator?).map_err(failed)? {
            Instruction::LocalGet(index) => Instruction::LocalGet(local(index)),
            Instruction::LocalSet(index) => Instruction::LocalSet(local(index)),
            Instruction::LocalTee(index) => Instruction::LocalTee(local(index)),
            Instruction::I32Const(value) => match places.next().context("one constant too many")? {
                Some(parameter) => Instruction::LocalGet(own + u32::try_from(*parameter)?),
                None => Instruction::I32Const(value),
            },
            instruction => instruction,
        });
    }
    Ok(called)
}

/// What changes in a module.
struct Sharing {
    /// Those of the functions that are called, behind those that are there.
    types: Vec<FuncType>,
    /// What stands for functions that are there, by their places.
    callers: HashMap<usize, Function>,
    /// With their types, behind the functions that are there.
    called: Vec<(u32, Function)>,
}

impl Reencode for Sharing {
    type Error = Infallible;

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: TypeSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        utils::parse_type_section(self, types, section)?;
        for of_type in std::mem::take(&mut self.types) {
            let of_type = self.func_type(of_type)?;
            types.ty().func_type(&of_type);
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        utils::parse_function_section(self, functions, section)?;
        for (of_type, _) in &self.called {
            functions.function(*of_type);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        for (at, body) in section.into_iter().enumerate() {
            match self.callers.get(&at) {
                Some(caller) => drop(code.function(caller)),
                None => self.parse_function_body(code, body?)?,
            }
        }
        for (_, called) in &self.called {
            code.function(called);
        }
        Ok(())
    }
}

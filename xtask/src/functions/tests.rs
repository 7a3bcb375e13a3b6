use super::{Functions, Parser, Payload};
use anyhow::Result;
use wasm_encoder::Instruction::{Call, Drop, End, I32Add, I32Const, LocalGet, LocalSet, RefFunc};
use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, ImportSection, Instruction, Module, RefType, TableSection,
    TableType, TypeSection, ValType,
};
use wasmparser::{ElementItems, ExternalKind};

const UNARY: u32 = 0;
const NULLARY: u32 = 1;
/// It is imported.
const HOST: u32 = 0;

/// A module of these functions, each of a type, with locals and instructions: all are exported under a letter, and are in a table.
fn module(functions: &[(u32, &[ValType], &[Instruction<'_>])]) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function([], [ValType::I32]);
    let mut imports = ImportSection::new();
    imports.import("env", "host", EntityType::Function(UNARY));
    let (mut declared, mut code) = (FunctionSection::new(), CodeSection::new());
    let (mut exports, mut indices) = (ExportSection::new(), Vec::new());
    for (index, (of_type, locals, instructions)) in (1..).zip(functions) {
        declared.function(*of_type);
        let mut body = Function::new_with_locals_types(locals.iter().copied());
        for instruction in *instructions {
            body.instruction(instruction);
        }
        body.instruction(&End);
        code.function(&body);
        let letter = char::from(b'a' + u8::try_from(index - 1).unwrap());
        exports.export(&letter.to_string(), ExportKind::Func, index);
        indices.push(index);
    }
    let mut tables = TableSection::new();
    let minimum = indices.len() as u64;
    let element_type = RefType::FUNCREF;
    tables.table(TableType { element_type, minimum, maximum: None, table64: false, shared: false });
    let mut elements = ElementSection::new();
    elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(indices.into()));
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&declared).section(&tables);
    module.section(&exports).section(&elements).section(&code);
    module.finish()
}

/// The module, made smaller: a valid one.
fn compacted(module: &[u8]) -> Result<Vec<u8>> {
    let compacted = super::compacted(module)?;
    walrus::Module::from_buffer(&compacted).expect("a valid module");
    Ok(compacted)
}

/// What each export is, in the order of their names; and what is in the table.
fn references(module: &[u8]) -> (Vec<u32>, Vec<u32>) {
    let (mut exported, mut in_table) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(module) {
        match payload.unwrap() {
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.unwrap();
                    assert_eq!(export.kind, ExternalKind::Func);
                    exported.push(export.index);
                }
            }
            Payload::ElementSection(section) => {
                for element in section {
                    let ElementItems::Functions(items) = element.unwrap().items else { panic!() };
                    in_table.extend(items.into_iter().map(Result::unwrap));
                }
            }
            _ => {}
        }
    }
    (exported, in_table)
}

/// The instructions of the function of this index.
fn body(module: &[u8], index: u32) -> Vec<String> {
    let functions = Functions::of(module).unwrap();
    let (_, body) = &functions.defined[index as usize - functions.imported];
    let operators = body.get_operators_reader().unwrap().into_iter();
    operators.map(|operator| format!("{:?}", operator.unwrap())).collect()
}

#[test]
fn a_function_that_is_there_twice_is_called_exported_and_in_the_table_once() {
    let before = module(&[
        (UNARY, &[], &[LocalGet(0), Call(HOST)]),
        (UNARY, &[], &[LocalGet(0), Call(HOST)]),
        (UNARY, &[], &[LocalGet(0), Call(2)]),
    ]);
    let after = compacted(&before).unwrap();
    assert_eq!(references(&after), (vec![1, 1, 2], vec![1, 1, 2]));
    assert_eq!(body(&after, 1)[1], "Call { function_index: 0 }", "an imported one stays");
    assert_eq!(body(&after, 2)[1], "Call { function_index: 1 }");
}

#[test]
fn functions_are_the_same_once_what_they_call_is() {
    let after = compacted(&module(&[
        (UNARY, &[], &[LocalGet(0), Call(3)]),
        (UNARY, &[], &[LocalGet(0), Call(4)]),
        (UNARY, &[], &[LocalGet(0), Call(HOST)]),
        (UNARY, &[], &[LocalGet(0), Call(HOST)]),
    ]));
    assert_eq!(references(&after.unwrap()).0, [2, 2, 1, 1]);
}

#[test]
fn functions_that_differ_stay() {
    let seven = [I32Const(7)];
    for (difference, other) in [
        ("the type", (NULLARY, [].as_slice(), seven.as_slice())),
        ("the locals", (UNARY, &[ValType::I32], &seven)),
        ("a constant", (UNARY, &[], &[I32Const(8)])),
        ("the length", (UNARY, &[], &[I32Const(7), Drop, I32Const(7)])),
    ] {
        let after = compacted(&module(&[(UNARY, &[], &seven), other])).unwrap();
        assert_eq!(references(&after), (vec![1, 2], vec![1, 2]), "{difference}");
    }
}

#[test]
fn those_called_from_the_most_places_come_first() {
    let before = module(&[
        (UNARY, &[], &[LocalGet(0), Call(2), Call(3)]),
        (UNARY, &[], &[LocalGet(0), Call(3), I32Const(1), Drop]),
        (UNARY, &[], &[LocalGet(0), Call(HOST), RefFunc(1), Drop]),
    ]);
    let after = compacted(&before).unwrap();
    assert_eq!(references(&after), (vec![3, 2, 1], vec![3, 2, 1]));
    assert_eq!(body(&after, 3)[1..3], ["Call { function_index: 2 }", "Call { function_index: 1 }"]);
    assert_eq!(body(&after, 2)[1], "Call { function_index: 1 }");
    assert_eq!(
        body(&after, 1)[1..3],
        ["Call { function_index: 0 }", "RefFunc { function_index: 3 }"]
    );
}

/// The constants in it, added to its parameter.
fn sum(constants: &[i32]) -> Vec<Instruction<'static>> {
    let mut instructions = vec![LocalGet(0), LocalSet(1), LocalGet(1)];
    instructions.extend(constants.iter().flat_map(|constant| [I32Const(*constant), I32Add]));
    instructions
}

#[test]
fn what_differs_in_constants_alone_is_written_once() {
    let locals = [ValType::I32];
    let sums = [[7, 1, 7, -900, 3], [8, 1, 8, -900, 3], [9, 1, 9, -900, -70]];
    let sums = sums.map(|constants| sum(&constants.repeat(8)));
    let [a, b, c] = &sums;
    let before = module(&[(UNARY, &locals, a), (UNARY, &locals, b), (UNARY, &locals, c)]);
    let after = compacted(&before).unwrap();
    assert!(after.len() < before.len(), "{} bytes, {} before", after.len(), before.len());
    assert_eq!(references(&after), (vec![2, 3, 4], vec![2, 3, 4]));
    for (index, constants) in [(2, [7, 3]), (3, [8, 3]), (4, [9, -70])] {
        let [first, second] = constants.map(|value| format!("I32Const {{ value: {value} }}"));
        let calls =
            ["LocalGet { local_index: 0 }", &first, &second, "Call { function_index: 1 }", "End"];
        assert_eq!(body(&after, index), calls);
    }
    let called = body(&after, 1).join(", ");
    let local = |index: u32| format!("LocalGet {{ local_index: {index} }}");
    let constant = |value: i32| format!("I32Const {{ value: {value} }}");
    let its_local = format!("{}, LocalSet {{ local_index: 3 }}, {}, ", local(0), local(3));
    let added =
        [local(1), constant(1), local(1), constant(-900), local(2)].map(|it| it + ", I32Add, ");
    assert_eq!(called, its_local + &added.concat().repeat(8) + "End");
}

#[test]
fn what_would_not_become_smaller_stays() {
    let [a, b] = [[7, 1], [8, 2]].map(|constants| sum(&constants));
    let locals = [ValType::I32];
    let after = compacted(&module(&[(UNARY, &locals, &a), (UNARY, &locals, &b)])).unwrap();
    assert_eq!(Functions::of(&after).unwrap().defined.len(), 2);
    assert!(body(&after, 2).contains(&"I32Const { value: 8 }".to_owned()));
}

#[test]
fn what_differs_in_more_than_constants_stays() {
    let alike = sum(&[7, 1].repeat(20));
    let mut longer = alike.clone();
    longer.extend([I32Const(1), I32Add]);
    let mut with_call = alike.clone();
    with_call.push(Call(HOST));
    let locals = [ValType::I32];
    let more_locals = [ValType::I32, ValType::I64];
    let before = module(&[
        (UNARY, &locals, &alike),
        (UNARY, &locals, &longer),
        (UNARY, &locals, &with_call),
        (UNARY, &more_locals, &alike),
    ]);
    let after = compacted(&before).unwrap();
    assert_eq!(Functions::of(&after).unwrap().defined.len(), 4);
}

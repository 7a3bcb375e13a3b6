use super::*;
use wasm_encoder::Instruction::{Call, Drop, End, I32Const, LocalGet, RefFunc};
use wasm_encoder::{
    ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection, Function,
    ImportSection, Instruction, RefType, TableSection, TableType, TypeSection, ValType,
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

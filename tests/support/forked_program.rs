//! Writes the C program in which a forked child calls every function with handles of its parent.
//!
//! Which of a function's parameters are such handles is seen by their types. What else it is given is such that it would
//! not refuse it.

use super::c_program::Function;

const FRAME: &str = include_str!("forked.c");

/// Types whose objects belong to a process, and where the frame has one.
const HANDLES: [(&str, &str); 4] = [
    ("boxlite_runtime *", "runtime"),
    ("boxlite_box *", "box"),
    ("boxlite_execution *", "execution"),
    ("boxlite_call *", "call"),
];

/// The program, and how many calls it makes.
pub(crate) fn calls_with_inherited_handles(functions: &[Function]) -> (String, usize) {
    let (mut calls, mut frees, mut refusals) = (String::new(), String::new(), String::new());
    let mut count = 0;
    for function in functions {
        let inherited = function.parameters.iter().enumerate().filter(|(_, one)| handle(&one.kind).is_some());
        for (index, parameter) in inherited {
            let call = format!("with_inherited_{}_{index}", function.name);
            count += 1;
            calls.push_str(&text_of(function, index, &call));
            if function.name.ends_with("_free") {
                frees.push_str(&format!("    {call}(parents, parents);\n"));
            } else {
                refusals.push_str(&format!("    {call}(parents, own); /* {} */\n", parameter.name));
            }
        }
    }
    calls.push_str(&format!(
        "static void free_every_inherited(struct handles *parents)\n{{\n{frees}}}\n\n\
         static void refuse_every_inherited(struct handles *parents, struct handles *own)\n{{\n{refusals}}}\n"
    ));
    (FRAME.replace("@CALLS@", &calls), count)
}

/// The field of the frame's `struct handles` with an object of this type.
fn handle(kind: &str) -> Option<&'static str> {
    let plain = kind.strip_prefix("const ").unwrap_or(kind);
    HANDLES.iter().find(|(of, _)| *of == plain).map(|(_, field)| *field)
}

/// A C function that calls `function` with the parent's handle as the parameter at `inherited`, and else the child's own.
fn text_of(function: &Function, inherited: usize, call: &str) -> String {
    let name = &function.name;
    let mut text = format!("static void {call}(struct handles *parents, struct handles *own)\n{{\n");
    let (mut arguments, mut checks) = (Vec::new(), String::new());
    for (index, parameter) in function.parameters.iter().enumerate() {
        let kind = parameter.kind.as_str();
        let argument = match (handle(kind), kind) {
            (Some(field), _) if index == inherited => format!("parents->{field}"),
            // So that only one handle can be the reason.
            (Some("call"), _) => "NULL".to_owned(),
            (Some(field), _) => format!("own->{field}"),
            (None, "boxlite_error **") => {
                text.push_str("    boxlite_error *error = NULL;\n");
                "&error".to_owned()
            }
            (None, "const char *" | "const void *") => "\"x\"".to_owned(),
            (None, "const boxlite_command *") => "a_command".to_owned(),
            // Options, which may be NULL, and what is not looked at.
            (None, _) if kind.starts_with("const boxlite_") || kind == "void *" || kind.ends_with("_fn") => {
                "NULL".to_owned()
            }
            (None, "int32_t *") => {
                text.push_str(&format!("    int32_t out{index} = 77;\n"));
                checks.push_str(&format!(
                    "    if (out{index} > 0) fault(\"{name}\", \"an out-parameter is set\");\n"
                ));
                format!("&out{index}")
            }
            (None, _) if kind.ends_with("**") => {
                let pointee = &kind[..kind.len() - 1];
                text.push_str(&format!("    {pointee}out{index} = ({pointee})1;\n"));
                checks.push_str(&format!(
                    "    if (out{index} != NULL) fault(\"{name}\", \"an out-handle is left\");\n"
                ));
                format!("&out{index}")
            }
            (None, _) => {
                assert!(!kind.ends_with('*'), "{name}: what is to be given as {kind}?");
                "1".to_owned()
            }
        };
        arguments.push(argument);
    }
    let what = format!("{name}({})", arguments.join(", "));
    let asked = &function.parameters[inherited].name;
    if function.result == "boxlite_code" {
        text.push_str(&format!(
            "    boxlite_code code = {what};\n    refused(\"{name}\", \"{asked}\", code, error);\n"
        ));
    } else if function.result == "void" {
        text.push_str(&format!("    {what};\n"));
    } else {
        // Names and ids, which are plain memory.
        text.push_str(&format!("    if ({what} == 0) fault(\"{name}\", \"nothing\");\n"));
    }
    text + &checks + "    (void)parents, (void)own;\n}\n\n"
}

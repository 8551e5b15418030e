//! Edits attributes of a `py_image_layer` in the text of a BUILD file. Pure.
//!
//! Only as much of Starlark is read as is needed to find the target's call: strings, comments and
//! brackets. Everything else in the file, including comments, formatting and line ends, stays as it is.
//! If buildifier has formatted the file, it has nothing to change in the result.

use std::ops::Range;

use crate::show::show;

/// The function whose calls are edited. Others may do anything with their arguments.
const FUNCTION: &str = "py_image_layer";

/// Attributes that buildifier puts before and after all others, in this order (`NamePriority` in
/// `tables/tables.go`).
const FIRST: [&str; 5] = ["name", "size", "timeout", "testonly", "srcs"];
const LAST: [&str; 3] = ["exports", "runtime_deps", "deps"];

/// Why a target cannot be edited.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("there is no call with name = \"{}\"; a macro or a loop may create the target", show(.0.as_bytes()))]
    NoTarget(String),
    #[error(
        "line {line}: the target is created by {}, and only calls of py_image_layer are edited",
        show(.function.as_bytes())
    )]
    OtherFunction { line: usize, function: String },
    #[error("line {line}: {problem}")]
    Syntax { line: usize, problem: &'static str },
    #[error("the value of {attribute} is not a plain number")]
    NotPlain { attribute: String },
    #[error("{attribute} has {key} already; was the BUILD file edited after the image was built?")]
    HasItem { attribute: String, key: String },
}

/// A call `rule(…)`.
#[derive(Debug)]
struct Call {
    function: String,
    /// Where the name of the function begins.
    start: usize,
    /// How many brackets it is in.
    depth: usize,
    /// What is between its parentheses.
    inside: Range<usize>,
    /// Its named arguments.
    arguments: Vec<Argument>,
}

#[derive(Debug)]
struct Argument {
    name: String,
    /// From the name to the end of the value.
    range: Range<usize>,
    value: Range<usize>,
}

/// Sets `attribute` of the target `name` to an integer or a dict of integers.
pub fn set_number(text: &str, name: &str, attribute: &str, value: &str) -> Result<String, Error> {
    keep_line_ends(text, |text| {
        let call = find(text, name)?;
        let Some(argument) = call.argument(attribute) else {
            let (text, call) = multiline(text, name, call)?;
            return add(&text, &call, attribute, value);
        };
        let present = &text[argument.value.clone()];
        if !is_plain(present)? {
            return Err(Error::NotPlain { attribute: attribute.to_string() });
        }
        if squeezed(present) == squeezed(value) {
            return Ok(text.to_string());
        }
        if !value.contains('\n') {
            return Ok(replace(text, argument.value.clone(), value));
        }
        let (text, call) = multiline(text, name, call)?;
        let Some(argument) = call.argument(attribute) else { return Ok(text) };
        let value = indented(value, indent_of(&text, argument.range.start));
        Ok(replace(&text, argument.value.clone(), &value))
    })
}

/// Whether an expression is a number, `None`, or a dict from strings to numbers, without comments.
fn is_plain(value: &str) -> Result<bool, Error> {
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    if value == "None" || is_number(value) {
        return Ok(true);
    }
    let is_plain = |Token { kind, .. }: &Token, text: &str| match kind {
        TokenKind::Word => is_number(text),
        TokenKind::Open => text == "{",
        TokenKind::Close => text == "}",
        TokenKind::Other => text.starts_with(['"', '\'', ':', ',']) || text.trim().is_empty(),
    };
    let mut at = 0;
    while at < value.len() {
        let token = token(value, at)?;
        if !is_plain(&token, &value[at..token.end]) {
            return Ok(false);
        }
        at = token.end;
    }
    Ok(value.starts_with('{'))
}

/// Puts `items`, each of the form `"key": value`, before the others in the dict `attribute` of the target
/// `name`. Those that it has already are left out.
pub fn prepend_items(text: &str, name: &str, attribute: &str, items: &[String]) -> Result<String, Error> {
    keep_line_ends(text, |text| {
        let call = find(text, name)?;
        let present = match call.argument(attribute) {
            Some(argument) => Dict::read(text, argument.value.clone())?.items,
            None => Vec::new(),
        };
        let mut new = Vec::new();
        for item in items {
            let (key, value) = item.split_once(": ").unwrap_or((item, ""));
            match present.iter().find(|(other, _)| other == key) {
                None => new.push(item.as_str()),
                Some((_, present)) if squeezed(present) == squeezed(value) => {}
                Some(_) => {
                    return Err(Error::HasItem { attribute: attribute.to_string(), key: key.to_string() });
                }
            }
        }
        if new.is_empty() {
            return Ok(text.to_string());
        }
        let (text, call) = multiline(text, name, call)?;
        let lines = |indent: &str, items: &[&str]| {
            items.iter().map(|item| format!("\n{indent}    {item},")).collect::<String>()
        };
        let Some(argument) = call.argument(attribute) else {
            return add(&text, &call, attribute, &format!("{{{}\n}}", lines("", &new)));
        };
        let indent = indent_of(&text, argument.range.start);
        let Range { start, end } = argument.value;
        let value = &text[start..end];
        let new = |rest: &[&str]| lines(indent, &[&new[..], rest].concat());
        if value == "None" {
            return Ok(replace(&text, start..end, &format!("{{{}\n{indent}}}", new(&[]))));
        }
        let dict = Dict::read(&text, argument.value.clone())?;
        if !dict.is_literal {
            // The value is a variable or an expression.
            let value = if dict.is_operand { value.to_string() } else { format!("({value})") };
            return Ok(replace(&text, start..end, &format!("{{{}\n{indent}}} | {value}", new(&[]))));
        }
        let inside = &text[start + 1..end - 1];
        let first_line = inside.split('\n').next().unwrap_or_default();
        let at = start + 1 + first_line.len();
        if first_line.len() == inside.len() {
            // A dict on one line becomes one with the items on lines of their own.
            let rest = pieces(&text, start + 1..end - 1)?;
            Ok(replace(&text, start + 1..end - 1, &format!("{}\n{indent}", new(&rest))))
        } else if inside.trim().is_empty() {
            Ok(replace(&text, start + 1..end - 1, &format!("{}\n{indent}", new(&[]))))
        } else if first_line.trim().is_empty() || first_line.trim_start().starts_with('#') {
            // The items are on lines of their own.
            Ok(replace(&text, at..at, &new(&[])))
        } else {
            let at = start + 1 + (inside.len() - inside.trim_start().len());
            Ok(replace(&text, start + 1..at, &format!("{}\n{indent}    ", new(&[]))))
        }
    })
}

/// Whether the target `name` is a statement of its own. buildozer does not find others.
pub fn is_statement(text: &str, name: &str) -> Result<bool, Error> {
    Ok(find(text, name)?.depth == 0)
}

/// Whether the value of the dict `attribute` of the target `name` consists of items, so that a list of all
/// items can replace it.
pub fn is_written_out(text: &str, name: &str, attribute: &str) -> Result<bool, Error> {
    let call = find(text, name)?;
    let Some(argument) = call.argument(attribute) else { return Ok(true) };
    Ok(&text[argument.value.clone()] == "None" || Dict::read(text, argument.value.clone())?.is_literal)
}

/// The expressions between commas, without comments in between.
fn pieces(text: &str, range: Range<usize>) -> Result<Vec<&str>, Error> {
    let mut pieces = Vec::new();
    let mut depth = 0usize;
    let mut start = range.start;
    let mut at = range.start;
    while at < range.end {
        let token = token(text, at)?;
        match token.kind {
            TokenKind::Open => depth += 1,
            TokenKind::Close => depth = depth.saturating_sub(1),
            TokenKind::Other if depth == 0 && &text[at..token.end] == "," => {
                pieces.push(text[start..at].trim());
                start = token.end;
            }
            TokenKind::Word | TokenKind::Other => (),
        }
        at = token.end;
    }
    pieces.push(text[start..range.end].trim());
    pieces.retain(|piece| !piece.is_empty());
    Ok(pieces)
}

/// An expression without spaces and with one kind of quotes, to compare it with another.
fn squeezed(expression: &str) -> String {
    let text = expression.replace(char::is_whitespace, "").replace('\'', "\"");
    text.replace(",}", "}").replace(",)", ")")
}

/// Puts `indent` before all lines but the first.
fn indented(value: &str, indent: &str) -> String {
    value.replace('\n', &format!("\n{indent}"))
}

/// The text with the call of the target `name` on several lines, as buildifier formats calls with more than one
/// argument.
fn multiline(text: &str, name: &str, call: Call) -> Result<(String, Call), Error> {
    if text[call.inside.clone()].contains('\n') {
        return Ok((text.to_string(), call));
    }
    let mut pieces = pieces(text, call.inside.clone())?;
    if pieces.len() == call.arguments.len() {
        pieces.sort_by_key(|piece| order(piece.split('=').next().unwrap_or_default().trim()));
    }
    let indent = indent_of(text, call.start);
    let comma = |piece: &str| if piece.starts_with('*') { "" } else { "," };
    let last = pieces.pop().unwrap_or_default();
    let mut lines: String = pieces.iter().map(|piece| format!("\n{indent}    {piece},")).collect();
    lines += &format!("\n{indent}    {last}{}\n{indent}", comma(last));
    let text = replace(text, call.inside.clone(), &lines);
    let call = find(&text, name)?;
    Ok((text, call))
}

/// Where buildifier puts an argument.
fn order(name: &str) -> (usize, &str) {
    let position = |list: &[&str]| list.iter().position(|other| *other == name);
    let rank = match (position(&FIRST), position(&LAST)) {
        (Some(first), _) => first,
        (None, None) => FIRST.len(),
        (None, Some(last)) => FIRST.len() + 1 + last,
    };
    (rank, name)
}

/// What an expression is as the value of a dict attribute.
#[derive(Default)]
struct Dict {
    /// Whether it is a dict between braces, and not a comprehension.
    is_literal: bool,
    /// The keys that are strings, between double quotes, and their values. If the dicts of an expression are
    /// joined, those of all of them.
    items: Vec<(String, String)>,
    /// Whether it can follow the operator `|` without parentheses.
    is_operand: bool,
}

impl Dict {
    fn read(text: &str, value: Range<usize>) -> Result<Dict, Error> {
        let mut dict =
            Dict { is_literal: text[value.clone()].starts_with('{'), is_operand: true, ..Dict::default() };
        let mut depth = 0usize;
        let mut at = value.start;
        // The parts of the present item.
        let mut key: Option<String> = None;
        let mut has_colon = false;
        let mut item_value: Option<Range<usize>> = None;
        while at < value.end {
            let token = token(text, at)?;
            let found = &text[at..token.end];
            if depth == 1 && (found == "," || token.kind == TokenKind::Close) {
                if let (Some(key), Some(value)) = (key.take(), item_value.take()) {
                    dict.items.push((key, text[value].to_string()));
                }
                (key, has_colon, item_value) = (None, false, None);
            } else if depth > 0 && !is_space(found) {
                if has_colon {
                    item_value = Some(item_value.map_or(at, |value| value.start)..token.end);
                } else if depth == 1 && found == ":" {
                    has_colon = true;
                } else if depth == 1 && key.is_none() && found.starts_with(['"', '\'']) {
                    key = Some(format!("\"{}\"", &found[1..found.len() - 1]));
                } else {
                    // The key is an expression.
                    key = None;
                }
            }
            match token.kind {
                TokenKind::Open => depth += 1,
                TokenKind::Close => depth = depth.saturating_sub(1),
                TokenKind::Word if depth == 0 => {
                    dict.is_operand &= !["and", "else", "if", "in", "lambda", "not", "or"].contains(&found);
                }
                TokenKind::Word if depth == 1 && found == "for" => dict.is_literal = false,
                TokenKind::Other if depth == 0 && found.starts_with(['<', '>', '=', '!']) => {
                    dict.is_operand = false
                }
                TokenKind::Word | TokenKind::Other => (),
            }
            // Something follows the braces.
            if depth == 0 && token.end < value.end {
                dict.is_literal = false;
            }
            at = token.end;
        }
        if !dict.is_operand {
            // Which of the dicts are in the value depends on a condition.
            dict.items.clear();
        }
        Ok(dict)
    }
}

/// Whether a token is a comment or spaces.
fn is_space(token: &str) -> bool {
    token.trim().is_empty() || token.starts_with('#')
}

/// Loads `names` from `file`, in addition to what the BUILD file loads. If it has another name for the
/// repository of `file`, that is used.
pub fn load(text: &str, file: &str, names: &[&str]) -> Result<String, Error> {
    keep_line_ends(text, |text| {
        let loads = loads(text)?;
        let loaded = || loads.iter().flat_map(|load| &load.symbols);
        let missing: Vec<&str> =
            names.iter().copied().filter(|name| !loaded().any(|symbol| symbol.local == *name)).collect();
        if missing.is_empty() {
            return Ok(text.to_string());
        }
        let path = |file: &str| Some(file.strip_prefix('@')?.split_once("//")?.1.to_string());
        let is_other_name = |load: &&Load| {
            load.symbols.iter().any(|symbol| symbol.name == FUNCTION)
                && path(&load.file).is_some_and(|other| Some(other) == path(file))
        };
        let file = loads.iter().find(is_other_name).map_or(file, |load| load.file.as_str());
        let quoted = |name: &str| format!("\"{name}\"");
        let Some(Load { call, .. }) = loads.iter().rfind(|load| load.file == file) else {
            let names: Vec<String> = missing.into_iter().map(quoted).collect();
            let line = format!("load({}, {})\n", quoted(file), names.join(", "));
            let end = loads.last().map_or(0, |load| load.call.inside.end + 1);
            let at = match text[end..].find('\n') {
                _ if loads.is_empty() => 0,
                Some(newline) => end + newline + 1,
                None => return Ok(format!("{text}\n{line}")),
            };
            return Ok(replace(text, at..at, &line));
        };
        missing
            .into_iter()
            .try_fold(text.to_string(), |text, name| load_name(&text, call.inside.clone(), &quoted(name)))
    })
}

/// A statement `load(…)`.
struct Load {
    call: Call,
    file: String,
    symbols: Vec<Symbol>,
}

struct Symbol {
    /// In the .bzl file.
    name: String,
    /// In the BUILD file.
    local: String,
}

fn loads(text: &str) -> Result<Vec<Load>, Error> {
    let calls = calls(text)?.into_iter();
    calls
        .filter(|call| call.function == "load" && call.depth == 0)
        .map(|call| {
            let mut file = None;
            let mut symbols = Vec::new();
            let mut at = call.inside.start;
            while at < call.inside.end {
                let token = token(text, at)?;
                if text[at..].starts_with(['"', '\'']) {
                    let name = text[at + 1..token.end - 1].to_string();
                    let argument = call.arguments.iter().find(|argument| argument.value.contains(&at));
                    match argument {
                        Some(argument) => symbols.push(Symbol { name, local: argument.name.clone() }),
                        None if file.is_none() => file = Some(name),
                        None => symbols.push(Symbol { local: name.clone(), name }),
                    }
                }
                at = token.end;
            }
            Ok(Load { call, file: file.unwrap_or_default(), symbols })
        })
        .collect()
}

/// Adds the string `name` to a load in alphabetical order, before names that get another name.
fn load_name(text: &str, inside: Range<usize>, name: &str) -> Result<String, Error> {
    let separator = if text[inside.clone()].contains('\n') { ",\n    " } else { ", " };
    let mut at = inside.start;
    let mut strings = 0;
    let mut end = at;
    loop {
        let token = token(text, at)?;
        let found = &text[at..token.end];
        match token.kind {
            TokenKind::Close => return Ok(replace(text, end..end, &format!("{separator}{name}"))),
            TokenKind::Word => return Ok(replace(text, at..at, &format!("{name}{separator}"))),
            _ => {}
        }
        if found.starts_with(['"', '\'']) {
            strings += 1;
            // The first is the file.
            if strings > 1 && found.trim_matches(['"', '\'']) > name.trim_matches('"') {
                return Ok(replace(text, at..at, &format!("{name}{separator}")));
            }
            end = token.end;
        }
        at = token.end;
    }
}

/// Edits a text whose lines end in `\n`, and restores `\r\n` if all lines ended so before.
fn keep_line_ends(text: &str, edit: impl FnOnce(&str) -> Result<String, Error>) -> Result<String, Error> {
    let count = text.matches('\n').count();
    if count > 0 && text.matches("\r\n").count() == count {
        return Ok(edit(&text.replace("\r\n", "\n"))?.replace('\n', "\r\n"));
    }
    edit(text)
}

fn replace(text: &str, range: Range<usize>, new: &str) -> String {
    format!("{}{new}{}", &text[..range.start], &text[range.end..])
}

impl Call {
    fn argument(&self, name: &str) -> Option<&Argument> {
        self.arguments.iter().find(|argument| argument.name == name)
    }

    /// The spaces before the arguments that are on lines of their own.
    fn indent(&self, text: &str) -> String {
        match self.arguments.iter().find(|argument| is_on_line(text, argument.range.start)) {
            Some(argument) => indent_of(text, argument.range.start).to_string(),
            None => format!("{}    ", indent_of(text, self.start)),
        }
    }
}

/// Whether what is at `at` begins its line.
fn is_on_line(text: &str, at: usize) -> bool {
    text[line_start(text, at)..at].trim().is_empty()
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Adds an argument to a call on several lines: where buildifier puts it, if the others are on lines of their
/// own.
fn add(text: &str, call: &Call, attribute: &str, value: &str) -> Result<String, Error> {
    let indent = call.indent(text);
    let value = indented(value, &indent);
    let line = format!("{indent}{attribute} = {value},\n");
    let next = call.arguments.iter().position(|argument| {
        is_on_line(text, argument.range.start) && order(&argument.name) > order(attribute)
    });
    if let Some(next) = next {
        let before = call.arguments[..next].last().map_or(call.inside.start, |argument| argument.range.end);
        let at = with_comments_above(text, before, call.arguments[next].range.start);
        return Ok(replace(text, at..at, &line));
    }
    // What follows the last named argument: a comma, comments, or arguments without names.
    let last = call.arguments.iter().map(|argument| argument.range.end).max().unwrap_or(call.inside.start);
    let mut has_comma = call.arguments.is_empty();
    let mut at = last;
    while at < call.inside.end {
        let token = token(text, at)?;
        match &text[at..token.end] {
            "," => has_comma = true,
            found if is_space(found) => {}
            // Named arguments must precede `*` and `**`.
            _ if is_on_line(text, at) => {
                let at = with_comments_above(text, last, at);
                return Ok(replace(text, at..at, &line));
            }
            _ => return Ok(replace(text, last..last, &format!(", {attribute} = {value}"))),
        }
        at = token.end;
    }
    let inside = &text[call.inside.clone()];
    let end = call.inside.start + inside.trim_end().len();
    let comma = if has_comma { "" } else { "," };
    let after = &text[last..end];
    let closing = match text[end..call.inside.end].rsplit_once('\n') {
        Some((_, indent)) => indent,
        None => indent_of(text, call.start),
    };
    Ok(replace(text, last..call.inside.end, &format!("{comma}{after}\n{line}{closing}")))
}

/// The start of the line of an argument, or of the comments above it that belong to it. They begin after
/// `before`.
fn with_comments_above(text: &str, before: usize, argument: usize) -> usize {
    let mut at = line_start(text, argument);
    loop {
        let above = line_start(text, at.saturating_sub(1));
        if above <= before || !text[above..at].trim_start().starts_with('#') {
            return at;
        }
        at = above;
    }
}

/// The spaces at the start of the line.
fn indent_of(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..at];
    &line[..line.len() - line.trim_start().len()]
}

/// The call of `py_image_layer` that creates the target `name`, which may be inside another call.
fn find(text: &str, name: &str) -> Result<Call, Error> {
    let names = |call: &Call| {
        call.argument("name").is_some_and(|argument| {
            let value = &text[argument.value.clone()];
            value.trim_matches(['"', '\'']) == name && value.len() == name.len() + 2
        })
    };
    let loads = loads(text)?;
    let symbols = || loads.iter().flat_map(|load| &load.symbols);
    let is_function =
        |call: &Call| symbols().any(|symbol| symbol.name == FUNCTION && symbol.local == call.function);
    let found: Vec<Call> = calls(text)?.into_iter().filter(names).collect();
    let other = found
        .first()
        .map(|call| Error::OtherFunction { line: line(text, call.start), function: call.function.clone() });
    let call = found.into_iter().find(is_function);
    call.ok_or_else(|| other.unwrap_or_else(|| Error::NoTarget(name.to_string())))
}

/// All calls, also those inside others.
fn calls(text: &str) -> Result<Vec<Call>, Error> {
    let mut calls = Vec::new();
    // The brackets that are open.
    let mut open: Vec<usize> = Vec::new();
    // A word that may be followed by a parenthesis.
    let mut word = 0..0;
    let mut at = 0;
    while at < text.len() {
        let token = token(text, at)?;
        let found = &text[at..token.end];
        match token.kind {
            TokenKind::Word => word = at..token.end,
            TokenKind::Open => {
                if found == "(" && !word.is_empty() {
                    let (end, arguments) = arguments(text, token.end)?;
                    calls.push(Call {
                        function: text[word.clone()].to_string(),
                        start: word.start,
                        depth: open.len(),
                        inside: token.end..end,
                        arguments,
                    });
                }
                open.push(at);
                word = 0..0;
            }
            TokenKind::Close => {
                let problem = "a bracket is closed that was not opened";
                open.pop().ok_or_else(|| Error::Syntax { line: line(text, at), problem })?;
                word = 0..0;
            }
            TokenKind::Other if found.trim_matches(' ').is_empty() => (),
            TokenKind::Other => word = 0..0,
        }
        at = token.end;
    }
    match open.first() {
        Some(open) => Err(Error::Syntax { line: line(text, *open), problem: "a bracket is never closed" }),
        None => Ok(calls),
    }
}

/// The end of a bracketed expression that begins before `start`, and its named arguments.
fn arguments(text: &str, start: usize) -> Result<(usize, Vec<Argument>), Error> {
    let mut arguments = Vec::new();
    let mut depth = 0usize;
    let mut at = start;
    // The first word after the start or a comma, and the start of the value after its equals sign.
    let (mut name, mut value): (Option<Range<usize>>, Option<usize>) = (None, None);
    // The end of the last token that is no comment or space.
    let mut last = start;
    let mut is_first = true;
    while at < text.len() {
        let token = token(text, at)?;
        let token_text = &text[at..token.end];
        let ends = depth == 0 && (token.kind == TokenKind::Close || token_text == ",");
        if ends {
            // Nothing follows the equals sign if the value is still unknown.
            if let (Some(name), Some(value @ ..usize::MAX)) = (name.take(), value.take()) {
                let value = value..last;
                let range = name.start..last;
                arguments.push(Argument { name: text[name].to_string(), range, value });
            }
            (name, value, is_first) = (None, None, true);
            if token.kind == TokenKind::Close {
                return Ok((at, arguments));
            }
        } else {
            match token.kind {
                TokenKind::Open => depth += 1,
                TokenKind::Close => depth -= 1,
                TokenKind::Word if depth == 0 && is_first => name = Some(at..token.end),
                TokenKind::Word | TokenKind::Other => (),
            }
            if !is_space(token_text) {
                let is_name = is_first && token.kind == TokenKind::Word;
                let is_equals = token_text == "=" && depth == 0 && name.is_some() && value.is_none();
                if value == Some(usize::MAX) {
                    value = Some(at);
                }
                if is_equals && !text[token.end..].starts_with('=') {
                    value = Some(usize::MAX);
                } else if !is_name && value.is_none() {
                    // Not a named argument.
                    name = None;
                }
                is_first = false;
                last = token.end;
            }
        }
        at = token.end;
    }
    Err(Error::Syntax { line: line(text, start.saturating_sub(1)), problem: "a bracket is never closed" })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Word,
    Open,
    Close,
    /// A string, a comment, spaces, or an operator.
    Other,
}

struct Token {
    kind: TokenKind,
    end: usize,
}

/// The token that begins at `at`.
fn token(text: &str, at: usize) -> Result<Token, Error> {
    let rest = &text[at..];
    let is_word = |char: char| char.is_alphanumeric() || char == '_' || char == '.';
    let run = |matches: &dyn Fn(char) -> bool| at + rest.find(|char| !matches(char)).unwrap_or(rest.len());
    let first = rest.chars().next().unwrap_or(' ');
    let other = |end: usize| Ok(Token { kind: TokenKind::Other, end });
    match first {
        '#' => other(at + rest.find('\n').unwrap_or(rest.len())),
        '"' | '\'' => other(string_end(text, at)?),
        '(' | '[' | '{' => Ok(Token { kind: TokenKind::Open, end: at + 1 }),
        ')' | ']' | '}' => Ok(Token { kind: TokenKind::Close, end: at + 1 }),
        _ if is_word(first) => {
            let end = run(&is_word);
            match &text[at..end] {
                "r" | "b" | "rb" | "br" if text[end..].starts_with(['"', '\'']) => {
                    other(string_end(text, end)?)
                }
                _ => Ok(Token { kind: TokenKind::Word, end }),
            }
        }
        _ if first.is_whitespace() => other(run(&char::is_whitespace)),
        _ => other(at + first.len_utf8()),
    }
}

/// The end of the string that begins at `at`. In a raw string, a backslash still keeps a quote from
/// ending it.
fn string_end(text: &str, at: usize) -> Result<usize, Error> {
    let quote = &text[at..=at];
    let triple = quote.repeat(3);
    let (delimiter, is_triple) =
        if text[at..].starts_with(&triple) { (triple.as_str(), true) } else { (quote, false) };
    let mut end = at + delimiter.len();
    while end < text.len() {
        let rest = &text[end..];
        if rest.starts_with(delimiter) {
            return Ok(end + delimiter.len());
        }
        let first = rest.chars().next().unwrap_or(' ');
        if first == '\n' && !is_triple {
            break;
        }
        end += first.len_utf8();
        if first == '\\' {
            end += text[end..].chars().next().map_or(0, char::len_utf8);
        }
    }
    Err(Error::Syntax { line: line(text, at), problem: "a string is never closed" })
}

fn line(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")
load(":x.bzl", "x")

GROUPS = {"a": "b"}  # name = "layers"

py_image_layer(
    name = "layers",
    # Says (something.
    compress = "zstd",
    layer_groups = {
        "torch": "torch",
    },
    py_binary = ":app",  # The binary.
)

[py_image_layer(name = "x" + y, split = 3) for y in ")"]

py_image_layer(name = "short", layer_groups = {"torch": r"tor\"ch"}, split = 2)
py_image_layer(
    name = 'other',
    layer_groups = GROUPS,
    split = select({"//conditions:default": 8}),
    py_binary = ":app"
)
"#;

    const LOAD: &str = "load(\"x\", f = \"py_image_layer\")\n";

    /// `set_number` in a file that loads the rule as `f`.
    fn set_number_of(text: &str, attribute: &str, value: &str) -> Result<String, Error> {
        let new = set_number(&format!("{LOAD}{text}"), "a", attribute, value)?;
        Ok(new.strip_prefix(LOAD).unwrap().to_string())
    }

    /// `prepend_items` in such a file.
    fn prepend_items_of(text: &str, attribute: &str, items: &[&str]) -> Result<String, Error> {
        let items: Vec<String> = items.iter().map(|item| item.to_string()).collect();
        let new = prepend_items(&format!("{LOAD}{text}"), "a", attribute, &items)?;
        Ok(new.strip_prefix(LOAD).unwrap().to_string())
    }

    /// The lines of `new` that are not in `FILE`.
    fn new_lines(new: &str) -> Vec<&str> {
        new.lines().filter(|line| !FILE.lines().any(|old| old == *line)).collect()
    }

    #[test]
    fn attributes_are_added_in_order() {
        let new = set_number(FILE, "layers", "split", "8").unwrap();
        assert!(new.contains("    py_binary = \":app\",  # The binary.\n    split = 8,\n)"), "{new}");
        let new = set_number(FILE, "layers", "max_layers", "8").unwrap();
        assert!(new.contains("    },\n    max_layers = 8,\n    py_binary"), "{new}");
        let new = prepend_items(FILE, "layers", "env", &["\"a\": 1".to_string()]).unwrap();
        assert!(new.contains("    env = {\n        \"a\": 1,\n    },\n    layer_groups = {\n"), "{new}");
        let new = set_number(FILE, "short", "max_layers", "5").unwrap();
        assert_eq!(
            new_lines(&new),
            [
                r#"    name = "short","#,
                r#"    layer_groups = {"torch": r"tor\"ch"},"#,
                "    max_layers = 5,",
                "    split = 2,"
            ]
        );
    }

    #[test]
    fn numbers_are_replaced() {
        let new = set_number(FILE, "short", "split", "9").unwrap();
        assert_eq!(
            new_lines(&new),
            [r#"py_image_layer(name = "short", layer_groups = {"torch": r"tor\"ch"}, split = 9)"#]
        );
        let error = set_number(FILE, "other", "split", "9").unwrap_err().to_string();
        assert_eq!(error, "the value of split is not a plain number");
    }

    #[test]
    fn items_are_put_first() {
        let items = ["\"numpy\": pip_package(\"numpy\")".to_string()];
        let new = prepend_items(FILE, "layers", "layer_groups", &items).unwrap();
        assert!(
            new.contains(
                "{\n        \"numpy\": pip_package(\"numpy\"),\n        \"torch\": \"torch\",\n    },"
            ),
            "{new}"
        );
        let new = prepend_items(FILE, "short", "layer_groups", &items).unwrap();
        assert_eq!(
            new_lines(&new),
            [
                r#"    name = "short","#,
                r#"        "numpy": pip_package("numpy"),"#,
                r#"        "torch": r"tor\"ch","#,
                "    split = 2,",
            ]
        );
        let new = prepend_items(FILE, "other", "layer_groups", &items).unwrap();
        assert!(
            new.contains("layer_groups = {\n        \"numpy\": pip_package(\"numpy\"),\n    } | GROUPS,"),
            "{new}"
        );
        let new =
            prepend_items_of("f(\n    name = \"a\",\n    d = {},\n)\n", "d", &[items[0].as_str()]).unwrap();
        assert_eq!(
            new,
            "f(\n    name = \"a\",\n    d = {\n        \"numpy\": pip_package(\"numpy\"),\n    },\n)\n"
        );
    }

    #[test]
    fn names_are_loaded_once() {
        let defs = "@rules_pylayer//bazel:defs.bzl";
        let new = load(FILE, defs, &["pip_package", "py_image_layer"]).unwrap();
        assert_eq!(
            new_lines(&new),
            ["load(\"@rules_pylayer//bazel:defs.bzl\", \"pip_package\", \"py_image_layer\")"]
        );
        assert_eq!(load(&new, defs, &["pip_package"]).unwrap(), new);
        let new = load(FILE, "//:y.bzl", &["y"]).unwrap();
        assert!(new.contains("load(\":x.bzl\", \"x\")\nload(\"//:y.bzl\", \"y\")\n\nGROUPS"), "{new}");
        assert_eq!(load("", "//:y.bzl", &["y"]).unwrap(), "load(\"//:y.bzl\", \"y\")\n");
        let new = load("load(\n    \"a\",\n    \"b\",\n)\n", "a", &["c"]).unwrap();
        assert_eq!(new, "load(\n    \"a\",\n    \"b\",\n    \"c\",\n)\n");
    }

    #[test]
    fn what_cannot_be_edited_is_an_error() {
        for (text, message) in [
            (
                "f(name = \"b\")\n# f(name = \"a\")\nX = 'f(name = \"a\")'",
                "there is no call with name = \"a\"; a macro or a loop may create the target",
            ),
            (
                "x()\nimg(\n    name = \"a\",\n)",
                "line 3: the target is created by img, and only calls of py_image_layer are edited",
            ),
            (
                "py_image_layer(name = \"a\")",
                "line 2: the target is created by py_image_layer, and only calls of py_image_layer are edited",
            ),
            ("f(\n(name = 'a'", "line 2: a bracket is never closed"),
            ("f()\n)", "line 3: a bracket is closed that was not opened"),
            ("x = \"a\nb\"", "line 2: a string is never closed"),
            ("x = '''a\nb\"", "line 2: a string is never closed"),
        ] {
            assert_eq!(set_number_of(text, "b", "1").unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn values_that_are_not_plain_dicts_are_joined() {
        let edit = |value: &str| {
            let text = format!("f(\n    name = \"a\",\n    d = {value},\n)\n");
            let new = prepend_items_of(&text, "d", &["\"new\": \"x\""]).unwrap();
            new.strip_prefix("f(\n    name = \"a\",\n    d = ")
                .unwrap()
                .strip_suffix(",\n)\n")
                .unwrap()
                .to_string()
        };
        let joined = |value: &str| format!("{{\n        \"new\": \"x\",\n    }} | {value}");
        for value in ["{\"a\": 1} | X", "{k: 1 for k in X}", "select({})", "x.GROUPS", "{}.get(1)"] {
            assert_eq!(edit(value), joined(value));
        }
        for value in ["X if Y else Z", "X or Y", "lambda: 1"] {
            assert_eq!(edit(value), joined(&format!("({value})")));
        }
    }

    #[test]
    fn comments_in_a_dict_stay_where_they_are() {
        let items = ["\"new\": \"x\""];
        for (value, expected) in [
            (
                "{  # All {.\n        \"a\": 1,\n    }",
                "{  # All {.\n        \"new\": \"x\",\n        \"a\": 1,\n    }",
            ),
            ("{  # None yet.\n    }", "{  # None yet.\n        \"new\": \"x\",\n    }"),
            (
                "{\n        # First.\n        \"a\": 1\n    }",
                "{\n        \"new\": \"x\",\n        # First.\n        \"a\": 1\n    }",
            ),
            (
                "{\"a\": 1,  # A.\n     \"b\": 2  # B,\n    }",
                "{\n        \"new\": \"x\",\n        \"a\": 1,  # A.\n     \"b\": 2  # B,\n    }",
            ),
            ("{ }", "{\n        \"new\": \"x\",\n    }"),
        ] {
            let text = |value: &str| format!("f(\n    name = \"a\",\n    d = {value},\n)\n");
            assert_eq!(prepend_items_of(&text(value), "d", &items).unwrap(), text(expected));
        }
        let text = "f(name = \"a\", d = {'new': 2})";
        let error = prepend_items_of(text, "d", &items).unwrap_err().to_string();
        assert_eq!(error, "d has \"new\" already; was the BUILD file edited after the image was built?");
    }

    #[test]
    fn new_attributes_do_not_take_the_comments_of_others() {
        let text = "f(\n  name = 'a',\n  # About z.\n  # More.\n  z = 1,\n)\n";
        let expected = "f(\n  name = 'a',\n  split = 8,\n  # About z.\n  # More.\n  z = 1,\n)\n";
        assert_eq!(set_number_of(text, "split", "8").unwrap(), expected);
        let text = "f(\n    name = 'a',\n    **KEYWORDS\n)\n";
        let expected = "f(\n    name = 'a',\n    split = 8,\n    **KEYWORDS\n)\n";
        assert_eq!(set_number_of(text, "split", "8").unwrap(), expected);
        let text = "f (name = 'a', *ARGS)";
        let expected = "f (\n    name = 'a',\n    split = 8,\n    *ARGS\n)";
        assert_eq!(set_number_of(text, "split", "8").unwrap(), expected);
    }

    #[test]
    fn only_plain_numbers_are_replaced() {
        let edit = |value: &str| set_number_of(&format!("f(name = 'a', split = {value})"), "split", "8");
        for value in ["1", "None", "{'a': 1, \"packages_select\": 2}", "{}"] {
            assert_eq!(edit(value).unwrap(), "f(name = 'a', split = 8)", "{value}");
        }
        for value in [
            "N",
            "select({'a': 1})",
            "8 if X else 9",
            "{'a': N}",
            "[1]",
            "{k: 1 for k in x}",
            "-1",
            "{1: 2} | {}",
        ] {
            assert!(matches!(edit(value), Err(Error::NotPlain { .. })), "{value}");
        }
    }

    #[test]
    fn names_are_loaded_whatever_the_load_looks_like() {
        for (text, expected) in [
            ("load('a', 'c')", "load('a', \"b\", 'c')"),
            ("load('a', 'b')", "load('a', 'b')"),
            ("load(\"a\", x = \"b\")", "load(\"a\", \"b\", x = \"b\")"),
            ("load(\"a\", \"a\", \"c\", x = \"y\")", "load(\"a\", \"a\", \"b\", \"c\", x = \"y\")"),
            ("load(\"a\", \"a\", x = \"y\")", "load(\"a\", \"a\", \"b\", x = \"y\")"),
            ("load(\n    \"a\",\n    x = \"y\",\n)\n", "load(\n    \"a\",\n    \"b\",\n    x = \"y\",\n)\n"),
            // Another file has the name.
            ("load(\"x\", \"b\")\n", "load(\"x\", \"b\")\n"),
            ("load(\"x\", b = \"c\")\n", "load(\"x\", b = \"c\")\n"),
            ("load(\"a\", \"c\")\nload(\"x\", \"b\")\n", "load(\"a\", \"c\")\nload(\"x\", \"b\")\n"),
            ("load(\"x\", \"y\")", "load(\"x\", \"y\")\nload(\"a\", \"b\")\n"),
            (
                "load(\n    # File.\n    \"a\",\n    \"x\",  # X.\n)\n",
                "load(\n    # File.\n    \"a\",\n    \"b\",\n    \"x\",  # X.\n)\n",
            ),
            ("load(\"a\", \"b\")\nload(\"a\", \"c\")\n", "load(\"a\", \"b\")\nload(\"a\", \"c\")\n"),
        ] {
            assert_eq!(load(text, "a", &["b"]).unwrap(), expected);
        }
    }

    #[test]
    fn the_repository_may_have_another_name() {
        let text = "load(\"@layers//bazel:defs.bzl\", \"py_image_layer\")\n";
        assert_eq!(
            load(text, "@rules_pylayer//bazel:defs.bzl", &["pip_package"]).unwrap(),
            "load(\"@layers//bazel:defs.bzl\", \"pip_package\", \"py_image_layer\")\n"
        );
        let text = "load(\"@other//bazel:defs.bzl\", \"x\")\nload(\"//:x.bzl\", \"py_image_layer\")\n";
        assert_eq!(
            load(text, "@rules_pylayer//bazel:defs.bzl", &["pip_package"]).unwrap(),
            format!("{text}load(\"@rules_pylayer//bazel:defs.bzl\", \"pip_package\")\n")
        );
    }

    /// The file with both kinds of edits, each of which changes nothing if it is repeated.
    fn edited(text: &str) -> String {
        let items = ["\"a\": pip_package(\"a\")", "\"b\": pip_package(\"b\")"].map(String::from);
        let edit = |text: &str| {
            let text = prepend_items(text, "layers", "layer_groups", &items).unwrap();
            let text = set_number(&text, "layers", "split", "6").unwrap();
            load(&text, "@rules_pylayer//bazel:defs.bzl", &["pip_package"]).unwrap()
        };
        let new = edit(text);
        assert_eq!(edit(&new), new);
        new
    }

    /// Files that buildifier leaves as they are, before and after the edits.
    const FORMATTED: &[(&str, &str)] = &[
        (
            r##"load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")

py_image_layer(
    name = "layers",
    py_binary = ":x",
)
"##,
            r##"load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")

py_image_layer(
    name = "layers",
    layer_groups = {
        "a": pip_package("a"),
        "b": pip_package("b"),
    },
    py_binary = ":x",
    split = 6,
)
"##,
        ),
        (
            r##"load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")

py_image_layer(name = "layers")
"##,
            r##"load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")

py_image_layer(
    name = "layers",
    layer_groups = {
        "a": pip_package("a"),
        "b": pip_package("b"),
    },
    split = 6,
)
"##,
        ),
        (
            r##"load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")

py_image_layer(
    name = "layers",
    layer_groups = {"x": "y"},
    py_binary = ":x",
)
"##,
            r##"load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")

py_image_layer(
    name = "layers",
    layer_groups = {
        "a": pip_package("a"),
        "b": pip_package("b"),
        "x": "y",
    },
    py_binary = ":x",
    split = 6,
)
"##,
        ),
        (
            r##"load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")

py_image_layer(
    name = "layers",
    layer_groups = None,
    py_binary = ":x",
    split = None,
)
"##,
            r##"load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")

py_image_layer(
    name = "layers",
    layer_groups = {
        "a": pip_package("a"),
        "b": pip_package("b"),
    },
    py_binary = ":x",
    split = 6,
)
"##,
        ),
        (
            r##"load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")

py_image_layer(
    name = "layers",
    layer_groups = GROUPS,
    py_binary = ":x",
    root = "/app",
    split = 3,
    visibility = ["//visibility:public"],
)
"##,
            r##"load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")

py_image_layer(
    name = "layers",
    layer_groups = {
        "a": pip_package("a"),
        "b": pip_package("b"),
    } | GROUPS,
    py_binary = ":x",
    root = "/app",
    split = 6,
    visibility = ["//visibility:public"],
)
"##,
        ),
        (
            r##"load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")

py_image_layer(
    name = "layers",
    testonly = True,
    # The binary.
    py_binary = ":x",  # Of the server.
    **KEYWORDS
)
"##,
            r##"load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")

py_image_layer(
    name = "layers",
    testonly = True,
    layer_groups = {
        "a": pip_package("a"),
        "b": pip_package("b"),
    },
    # The binary.
    py_binary = ":x",  # Of the server.
    split = 6,
    **KEYWORDS
)
"##,
        ),
        (
            r##"load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")

py_image_layer(
    name = "layers",
    layer_groups = {
        # First.
        "x": "y",  # X.
    },
    split = {
        "packages": 2,
    },
)
"##,
            r##"load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")

py_image_layer(
    name = "layers",
    layer_groups = {
        "a": pip_package("a"),
        "b": pip_package("b"),
        # First.
        "x": "y",  # X.
    },
    split = 6,
)
"##,
        ),
        (
            r##"load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")

oci_image(
    name = "image",
    tars = py_image_layer(
        name = "layers",
        py_binary = ":x",
    ),
)
"##,
            r##"load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")

oci_image(
    name = "image",
    tars = py_image_layer(
        name = "layers",
        layer_groups = {
            "a": pip_package("a"),
            "b": pip_package("b"),
        },
        py_binary = ":x",
        split = 6,
    ),
)
"##,
        ),
        (
            r##"load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")

oci_image(
    name = "image",
    base = "@base",
    tars = py_image_layer(name = "layers"),
)
"##,
            r##"load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")

oci_image(
    name = "image",
    base = "@base",
    tars = py_image_layer(
        name = "layers",
        layer_groups = {
            "a": pip_package("a"),
            "b": pip_package("b"),
        },
        split = 6,
    ),
)
"##,
        ),
        (
            r##"load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")

oci_image(
    name = "image",
    tars = [py_image_layer(
        name = "layers",
        layer_groups = {"x": "y"},
    )] + [":other"],
)
"##,
            r##"load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")

oci_image(
    name = "image",
    tars = [py_image_layer(
        name = "layers",
        layer_groups = {
            "a": pip_package("a"),
            "b": pip_package("b"),
            "x": "y",
        },
        split = 6,
    )] + [":other"],
)
"##,
        ),
        (
            r##"load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")

[
    py_image_layer(
        name = "layers",
        root = root,
    )
    for root in ["/a"]
]
"##,
            r##"load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")

[
    py_image_layer(
        name = "layers",
        layer_groups = {
            "a": pip_package("a"),
            "b": pip_package("b"),
        },
        root = root,
        split = 6,
    )
    for root in ["/a"]
]
"##,
        ),
        (
            r##"load("@rules_pylayer//bazel:defs.bzl", pil = "py_image_layer")

pil(
    name = "layers",
    py_binary = ":x",
)
"##,
            r##"load("@rules_pylayer//bazel:defs.bzl", "pip_package", pil = "py_image_layer")

pil(
    name = "layers",
    layer_groups = {
        "a": pip_package("a"),
        "b": pip_package("b"),
    },
    py_binary = ":x",
    split = 6,
)
"##,
        ),
        (
            r##"load(
    "@rules_pylayer//bazel:defs.bzl",
    "py_image_layer",
)

py_image_layer(
    name = "layers",
    layer_groups = select({
        "//:arm": {"x": "y"},
        "//conditions:default": {},
    }),
    split = 6,
)
"##,
            r##"load(
    "@rules_pylayer//bazel:defs.bzl",
    "pip_package",
    "py_image_layer",
)

py_image_layer(
    name = "layers",
    layer_groups = {
        "a": pip_package("a"),
        "b": pip_package("b"),
    } | select({
        "//:arm": {"x": "y"},
        "//conditions:default": {},
    }),
    split = 6,
)
"##,
        ),
    ];

    #[test]
    fn results_are_formatted() {
        for (text, expected) in FORMATTED {
            assert_eq!(edited(text), *expected);
        }
    }

    #[test]
    fn calls_on_one_line_get_several_lines() {
        for (text, expected) in [
            (
                "load('x', 'py_image_layer')\npy_image_layer(split = 2, py_binary = ':x', layer_groups = {'x': 'y', 'z': f(1, 2)}, name = 'layers')\n",
                "    name = 'layers',\n    layer_groups = {\n        \"a\": pip_package(\"a\"),\n        \"b\": pip_package(\"b\"),\n        'x': 'y',\n        'z': f(1, 2),\n    },\n    py_binary = ':x',\n    split = 6,\n)\n",
            ),
            (
                "load('x', 'py_image_layer')\n[py_image_layer(name = 'layers', **x) for x in [{}]]\n",
                "[py_image_layer(\n    name = 'layers',\n    layer_groups = {\n        \"a\": pip_package(\"a\"),\n        \"b\": pip_package(\"b\"),\n    },\n    split = 6,\n    **x\n) for x in [{}]]\n",
            ),
        ] {
            let new = edited(text);
            assert!(new.ends_with(expected), "{new}");
        }
    }

    #[test]
    fn what_is_there_already_is_not_added_again() {
        let items = ["\"x\": p(\"x\")", "\"y\": p(\"y\")"];
        let edit = |value: &str| {
            let text = format!("f(\n    name = 'a',\n    d = {value},\n)\n");
            let new = prepend_items_of(&text, "d", &items)?;
            Ok::<bool, Error>(new == text)
        };
        for value in [
            "{'x': p( 'x' ), 'y': p('y')}",
            "{\n        \"y\": p(\"y\"),  # Y.\n        \"x\": p(\n            \"x\",\n        ),\n    }",
            "{\"x\": p(\"x\"), \"y\": p(\"y\")} | GROUPS",
            "{\"x\": p(\"x\")} | {\"y\": p(\"y\")} | select({\"x\": {}})",
        ] {
            assert_eq!(edit(value), Ok(true), "{value}");
        }
        for value in ["{'x': p('x')}", "{'z': {'x': p('x'), 'y': p('y')}}", "{} if Y else {'x': 1, 'y': 2}"] {
            assert_eq!(edit(value), Ok(false), "{value}");
        }
        assert!(matches!(edit("{'x': 'y'} | GROUPS"), Err(Error::HasItem { .. })));
        let text = "f(\n    name = 'a',\n    d = {\n        'x': p('x'),\n    },\n)\n";
        assert_eq!(
            prepend_items_of(text, "d", &items).unwrap(),
            "f(\n    name = 'a',\n    d = {\n        \"y\": p(\"y\"),\n        'x': p('x'),\n    },\n)\n"
        );
        let split = "{\n    \"web\": 3,\n    \"packages\": 8,\n}";
        for text in [
            "f(name = 'a', split = {'web': 3, 'packages': 8})",
            "f(name = 'a', split = {\"web\": 3,\n\"packages\": 8,})",
        ] {
            assert_eq!(set_number_of(text, "split", split).unwrap(), text);
        }
        assert_eq!(
            set_number_of("f(name = 'a', split = {'web': 3, 'packages': 7})", "split", split).unwrap(),
            "f(\n    name = 'a',\n    split = {\n        \"web\": 3,\n        \"packages\": 8,\n    },\n)"
        );
    }

    #[test]
    fn buildozer_edits_statements_with_written_values() {
        let with_load = |text: &str| format!("{LOAD}{text}");
        let is_written_out = |text: &str| is_written_out(&with_load(text), "a", "d").unwrap();
        for text in ["f(name = 'a')", "f(name = 'a', d = None)", "f(name = 'a', d = {'x': y})"] {
            assert!(is_written_out(text), "{text}");
        }
        for text in
            ["f(name = 'a', d = X)", "f(name = 'a', d = {} | X)", "f(name = 'a', d = {k: 1 for k in X})"]
        {
            assert!(!is_written_out(text), "{text}");
        }
        assert!(is_statement(&with_load("f(name = 'a')"), "a").unwrap());
        assert!(!is_statement(&with_load("g(f(name = 'a'))"), "a").unwrap());
        assert!(!is_statement(&with_load("[f(name = 'a') for x in y]"), "a").unwrap());
    }

    /// Starlark that the edits have to leave alone.
    mod random {
        use std::cell::RefCell;

        use proptest::collection::vec;
        use proptest::prelude::*;
        use proptest::sample::{select, subsequence};
        use starlark::environment::{Globals, LibraryExtension, Module};
        use starlark::eval::Evaluator;
        use starlark::syntax::{AstModule, Dialect};

        use super::super::*;

        const LOAD: &str = "load(\"x\", target = \"py_image_layer\")\n";

        const PRELUDE: &str = r#"
def target(**attributes):
    for name in attributes:
        print(repr(attributes["name"]), name, repr(attributes[name]))
def other(**attributes):
    target(**attributes)
def same(value):
    return value
VARIABLE = {"of": "variable"}
"#;

        const BETWEEN: &[&str] = &[
            "",
            "# A ( comment \" with ''' brackets ]\n",
            "\"\"\"A string with ) and \"quotes\"\n\nname = 'layers'\"\"\"\n",
            "'''\\''' \"\"\" ('''\n",
            "X = {\"name\": \"layers\"}  # name = \"layers\")\n",
            "[other(name = \"c\" + str(i), split = i) for i in [1, 2]]\n",
            "other(name = \"x\" + \"layers\", split = 3)\n",
            "other(name = 'other', layer_groups = {\"a\": r\"\\\"(\"}, split = 1)\n",
            "Y = [\n  (1, 2),\n]\n",
            "Z = \"name = \\\"layers\\\"\" if X else '\\'('\n",
        ];

        const ARGUMENTS: &[&str] = &[
            "deep = same({\"a\": [1, (2, {3: 4})], \"b\": same(\")\")})",
            "doc = \"\"\"Triple \"quoted\" no comment )\n\n] text\"\"\"",
            "raw = r\"\\.so\\\"$\"",
            "tags = ['a(', \"b]\"]",
            "empty = \"\"",
            "choice = 1 if X == {} else 2",
            "listed = [a for a in (1, 2) if a != 1]",
            "lines = [  # A comment (\n  1,\n\t2]",
        ];

        const GROUPS: &[&str] = &[
            "",
            "layer_groups = {}",
            "layer_groups = None",
            "layer_groups = { }",
            "layer_groups = {\"a\": \"b\"}",
            "layer_groups = {\"a\": \"b,\",}",
            "layer_groups = {\n        \"a\": same(\"b\"),  # {\n    }",
            "layer_groups = {  # All (\n        'a': \"{b}\"\n    }",
            "layer_groups = {\"a\": \"b\",  # A }\n\t\"c\": r\"\\d\"  # C,\n}",
            "layer_groups = VARIABLE",
            "layer_groups = {\"a\": 1} | VARIABLE",
            "layer_groups = VARIABLE if True else {}",
            "layer_groups = {k: \"x\" for k in VARIABLE}",
            "layer_groups = same({\"a\": {\"new\": 1}})",
        ];

        const SPLITS: &[&str] =
            &["", "split = 3", "split = {\"a\": 1, 'b': 2}", "split = None", "split={\n\"a\":1}"];

        /// A call on one line or several, with comments, which ends in its own way.
        fn call() -> impl Strategy<Value = String> {
            let names = ["name = \"layers\"", "name = 'layers'", "name=\"layers\"", "name = 'layers' "];
            let arguments = subsequence(ARGUMENTS.to_vec(), 0..=ARGUMENTS.len());
            let attributes =
                (select(names.to_vec()), select(GROUPS.to_vec()), select(SPLITS.to_vec()), arguments);
            let separators =
                [", ", ",\n    ", ",\n  ", ",\n\t", ",  # A comment, ( \"\n    ", ",\n    # About: (\n    "];
            let ends = [
                ("(", ")"),
                ("(", ",)"),
                ("(\n    ", "\n)"),
                ("(\n    ", ",\n)"),
                (" (\n    # First.\n    ", ",  # Last )\n)"),
                ("(\n", "  # No comma,\n  )"),
            ];
            let layout = (select(separators.to_vec()), select(ends.to_vec()), any::<u64>());
            (attributes, layout).prop_map(
                |((name, groups, split, mut all), (separator, (start, end), order))| {
                    all.extend([name, groups, split].into_iter().filter(|argument| !argument.is_empty()));
                    let at = order as usize % all.len();
                    all.rotate_left(at);
                    format!("target{start}{}{end}\n", all.join(separator))
                },
            )
        }

        fn file() -> impl Strategy<Value = String> {
            let between = || vec(select(BETWEEN.to_vec()), 0..4).prop_map(|pieces| pieces.concat());
            (between(), call(), between(), any::<bool>()).prop_map(|(before, call, after, is_crlf)| {
                let text = format!("{LOAD}X = 1\n{before}{call}{after}");
                if is_crlf { text.replace('\n', "\r\n") } else { text }
            })
        }

        struct Printed(RefCell<Vec<String>>);

        impl starlark::PrintHandler for Printed {
            fn println(&self, text: &str) -> starlark::Result<()> {
                self.0.borrow_mut().push(text.to_string());
                Ok(())
            }
        }

        /// The attributes of all targets, one per line.
        fn attributes(text: &str) -> Vec<String> {
            let program =
                format!("{PRELUDE}{}", text.replace("\r\n", "\n").replace('\t', "  ").replace(LOAD, ""));
            let dialect = Dialect { enable_top_level_stmt: true, ..Dialect::Standard };
            let syntax = AstModule::parse("BUILD", program, &dialect)
                .unwrap_or_else(|error| panic!("{text}\n{error}"));
            let printed = Printed(RefCell::new(Vec::new()));
            Module::with_temp_heap(|module| {
                let mut evaluator = Evaluator::new(&module);
                evaluator.set_print_handler(&printed);
                let globals = Globals::extended_by(&[LibraryExtension::Print]);
                evaluator.eval_module(syntax, &globals).unwrap_or_else(|error| panic!("{text}\n{error}"));
            });
            printed.0.into_inner()
        }

        /// Checks that `new` differs from `old` only in one attribute of the target, and returns its values.
        fn compare(old: &str, new: &str, attribute: &str) -> (Option<String>, Option<String>) {
            let start = format!("\"layers\" {attribute} ");
            let split = |text: &str| {
                // The order of arguments does not matter.
                let mut all = attributes(text);
                all.sort();
                let (edited, others): (Vec<_>, Vec<_>) =
                    all.into_iter().partition(|line| line.starts_with(&start));
                assert!(edited.len() <= 1, "{text}");
                (edited.first().map(|line| line[start.len()..].to_string()), others)
            };
            let ((old_value, old_others), (new_value, new_others)) = (split(old), split(new));
            assert_eq!(old_others, new_others, "{old}\n{new}");
            let comments = |text: &str| {
                let of_line = |line: &str| line.find('#').map(|at| line[at..].trim().to_string());
                let mut comments: Vec<String> = text.lines().filter_map(of_line).collect();
                comments.sort();
                comments
            };
            assert_eq!(comments(old), comments(new), "{old}\n{new}");
            let is_crlf = |text: &str| text.matches("\r\n").count() == text.matches('\n').count();
            assert_eq!(is_crlf(old), is_crlf(new), "{old:?}\n{new:?}");
            (old_value, new_value)
        }

        proptest! {
            #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

            #[test]
            fn numbers(text in file(), attribute in select(vec!["split", "max_layers", "zzz", "a"])) {
                let new = set_number(&text, "layers", attribute, "8").unwrap();
                let (_, value) = compare(&text, &new, attribute);
                prop_assert_eq!(value.as_deref(), Some("8"));
            }

            #[test]
            fn items(text in file(), attribute in select(vec!["layer_groups", "env"])) {
                let items = ["\"new\": \"(1\"", "\"newer\": same(\"2\")"].map(String::from);
                let new = prepend_items(&text, "layers", attribute, &items).unwrap();
                let (old, new) = compare(&text, &new, attribute);
                let rest = old.filter(|old| old != "{}" && old != "None").map_or("}".to_string(), |old| format!(", {}", &old[1..]));
                prop_assert_eq!(new.unwrap(), format!("{{\"new\": \"(1\", \"newer\": \"2\"{rest}"));
            }

            #[test]
            fn any_text(text in "[a-z\"'#(){}\\[\\]=,\\\\\r\n é]{0,40}") {
                let _ = set_number(&text, "a", "split", "8");
                let _ = prepend_items(&format!("load('x', f = 'py_image_layer')\nf(name = 'a', d = {text}"), "a", "d", &["\"k\": 1".to_string()]);
                let _ = load(&format!("load({text}"), "a", &["b"]);
            }
        }
    }
}

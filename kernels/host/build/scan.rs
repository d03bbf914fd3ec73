//! Finds kernels, structs and constants in CUDA C++, as far as the kernels' files are written.
//!
//! What it does not understand it leaves out, and then a test misses it.

/// A kernel's name and what is in the parentheses of its `__launch_bounds__`.
pub struct Kernel {
    pub name: String,
    pub bounds: String,
}

/// All functions with `__global__`.
pub fn kernels(source: &str) -> Vec<Kernel> {
    let source = without_comments(source);
    let mut kernels = Vec::new();
    for part in source.split("__global__").skip(1) {
        let mut head = part.split('{').next().unwrap_or("").to_owned();
        let mut bounds = String::new();
        if let Some(start) = head.find("__launch_bounds__") {
            let open = start + head[start..].find('(').expect("bounds in parentheses");
            let close = matching(&head, open);
            bounds = head[open + 1..close].to_owned();
            head.replace_range(start..=close, "");
        }
        let name = head.split('(').next().unwrap_or("");
        let name = name.split_whitespace().last().unwrap_or("").to_owned();
        assert!(is_name(&name), "no kernel's name in: {head}");
        kernels.push(Kernel { name, bounds });
    }
    kernels
}

/// Names and C++ expressions: `S` (size), `S.f` (offset) and `S.f size` for structs, `C` (value) for
/// constants.
pub fn layout(source: &str) -> Vec<(String, String)> {
    let source = without_comments(source);
    let mut entries = Vec::new();
    for line in source.lines() {
        let mut words = line.split_whitespace();
        if let (Some("#define"), Some(name), Some(_)) = (words.next(), words.next(), words.next())
            && is_name(name)
        {
            entries.push((name.to_owned(), format!("size_t({name})")));
        }
    }
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .fold(String::new(), |code, line| code + line + "\n");
    for statement in statements(&code) {
        let Some((head, body)) = statement.split_once('{') else {
            entries.extend(constant(&statement));
            continue;
        };
        let words: Vec<&str> = head.split_whitespace().collect();
        if words.first() == Some(&"struct")
            && let Some(name) = words.last()
        {
            entries.push((name.to_string(), format!("sizeof({name})")));
            fields(name, body, &mut entries);
        } else {
            entries.extend(constant(&statement));
        }
    }
    entries
}

/// `constexpr T NAME = value`, `const T NAME = value` or `… NAME{value}`.
fn constant(statement: &str) -> Option<(String, String)> {
    let head = statement.split(['=', '{']).next()?;
    let words: Vec<&str> = head.split_whitespace().collect();
    let constant = words.contains(&"constexpr") || words.contains(&"const");
    let name = words.last()?;
    (constant && !head.contains('(') && is_name(name))
        .then(|| (name.to_string(), format!("size_t({name})")))
}

fn fields(name: &str, body: &str, entries: &mut Vec<(String, String)>) {
    let body = &body[..body.rfind('}').expect("a struct ends")];
    for member in statements(body) {
        let words = member.split_whitespace().next();
        if member.contains('(') || matches!(words, None | Some("static" | "using")) {
            continue;
        }
        for declarator in member.split(',') {
            let declarator = declarator.split(['[', '=', '{']).next().unwrap_or("");
            let field = declarator.split_whitespace().last().unwrap_or("");
            assert!(is_name(field), "no field's name in {name}: {member}");
            entries.push((
                format!("{name}.{field}"),
                format!("__builtin_offsetof({name}, {field})"),
            ));
            entries.push((
                format!("{name}.{field} size"),
                format!("sizeof({name}::{field})"),
            ));
        }
    }
}

/// Splits at the semicolons, and after the bodies of functions, that are in no braces.
fn statements(code: &str) -> Vec<String> {
    let (mut found, mut current, mut depth) = (Vec::new(), String::new(), 0);
    for letter in code.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        let ends = depth == 0 && (letter == ';' || letter == '}' && current.contains('('));
        if !ends {
            current.push(letter);
            continue;
        }
        found.push(std::mem::take(&mut current).trim().to_owned());
    }
    found.retain(|statement| !statement.is_empty());
    found
}

fn matching(text: &str, open: usize) -> usize {
    let mut depth = 0;
    for (index, letter) in text[open..].char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + index;
        }
    }
    panic!("an open parenthesis in: {text}");
}

fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters
        .next()
        .is_some_and(|first| first.is_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
}

fn without_comments(source: &str) -> String {
    let mut text = String::new();
    let mut rest = source;
    while let Some(start) = rest.find('/') {
        text += &rest[..start];
        rest = &rest[start..];
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else {
            text.push('/');
            1
        };
        rest = &rest[skipped..];
    }
    text + rest
}

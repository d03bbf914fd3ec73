//! Pickles as plain data.
//!
//! A pickle is a program for a small stack machine, and two of its instructions call any function
//! of Python. Here they make a [`Node::Called`] that says what would have been called, and nothing
//! is. Values live in one list and refer to one another by place: the list grows by at most one
//! value per instruction, however cleverly a pickle repeats itself, and nothing here recurses.

use std::collections::HashMap;

/// A value's place in [`Pickle::nodes`].
pub(super) type Id = usize;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Any value that says nothing of tensors: None, floats.
    Other,
    /// An integer or a boolean.
    Int(i64),
    /// A string.
    Text(String),
    /// A function or a class: its module and its name with a space between.
    Global(String),
    /// A tuple or a list.
    Sequence(Vec<Id>),
    /// A dictionary.
    Dict(Vec<(Id, Id)>),
    /// What a function would have returned, or an object of a class.
    Called(Id, Id),
    /// What lies outside of the pickle, by the id that it goes by.
    Outside(Id),
}

/// All values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    root: Id,
}

impl Pickle {
    /// Reads the values of a pickle.
    ///
    /// # Errors
    /// The instruction that is unknown or wrong, and where it is.
    pub(super) fn read(bytes: &[u8]) -> Result<Pickle, String> {
        let mut machine = Machine {
            bytes,
            position: 0,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        loop {
            let position = machine.position;
            let step = machine.byte().and_then(|code| machine.step(code));
            match step {
                Ok(false) => {}
                Ok(true) => break,
                Err(problem) => return Err(format!("pickle, byte {position}: {problem}")),
            }
        }
        let root = machine
            .pop()
            .map_err(|problem| format!("pickle: {problem}"))?;
        Ok(Pickle {
            nodes: machine.nodes,
            root,
        })
    }

    /// The value that the pickle stands for.
    pub(super) fn root(&self) -> &Node {
        self.node(self.root)
    }

    /// The value in a place.
    pub(super) fn node(&self, id: Id) -> &Node {
        self.nodes.get(id).unwrap_or(&Node::Other)
    }

    /// The string in a place, where there is one.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

const SHORT: &str = "the pickle ends in the middle of an instruction";

impl Machine<'_> {
    /// Executes one instruction; true when it was the last.
    fn step(&mut self, code: u8) -> Result<bool, String> {
        match code {
            b'.' => return Ok(true),
            // The protocol's version.
            0x80 => drop(self.byte()?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'N' | b'G' | b'J' | b'K' | b'M' | 0x88 | 0x89 | 0x8a => self.number(code)?,
            b'X' | 0x8c | b'U' => self.string(code)?,
            b'c' => self.global()?,
            b'q' | b'r' | b'h' | b'j' => self.remember(code)?,
            b')' | b']' => self.push(Node::Sequence(Vec::new())),
            b't' | b'l' | 0x85 | 0x86 | 0x87 => self.sequence(code)?,
            b'a' | b'e' => self.append(code)?,
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' | b's' | b'u' => self.dictionary(code)?,
            b'R' | 0x81 => self.call()?,
            // An object's attributes say nothing of its tensors.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                self.push(Node::Outside(id));
            }
            other => {
                return Err(format!(
                    "instruction {other:#04x} is none of those that torch.save writes"
                ));
            }
        }
        Ok(false)
    }

    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let end = self.position.checked_add(count).ok_or(SHORT)?;
        let taken = self.bytes.get(self.position..end).ok_or(SHORT)?;
        self.position = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.take(1)?.first().copied().ok_or_else(|| SHORT.into())
    }

    /// An unsigned number of up to eight bytes, the lowest first.
    fn unsigned(&mut self, count: usize) -> Result<u64, String> {
        let bytes = self.take(count)?;
        let number = |sum: u64, &byte: &u8| (sum << 8) | u64::from(byte);
        Ok(bytes.iter().rev().fold(0, number))
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("a value is taken from an empty stack".into());
        }
        self.stack.pop().ok_or_else(|| SHORT.into())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn top(&mut self) -> Result<&mut Node, String> {
        let id = self.stack.last().copied().ok_or("the stack is empty")?;
        self.nodes.get_mut(id).ok_or_else(|| SHORT.into())
    }

    fn number(&mut self, code: u8) -> Result<(), String> {
        let node = match code {
            b'K' => Node::Int(self.byte()?.into()),
            b'M' => Node::Int(i64::try_from(self.unsigned(2)?).unwrap_or(0)),
            b'J' => Node::Int((self.unsigned(4)? as u32).cast_signed().into()),
            0x88 => Node::Int(1),
            0x89 => Node::Int(0),
            b'G' => {
                self.take(8)?;
                Node::Other
            }
            0x8a => {
                let count = self.byte()?.into();
                if count > 8 {
                    return Err(format!(
                        "an integer of {count} bytes; at most 8 were expected"
                    ));
                }
                // The highest bit there is, is the sign.
                let unused = 64 - 8 * u32::try_from(count).unwrap_or(0);
                let number = self.unsigned(count)?.checked_shl(unused).unwrap_or(0);
                Node::Int(number.cast_signed().checked_shr(unused).unwrap_or(0))
            }
            _ => Node::Other,
        };
        self.push(node);
        Ok(())
    }

    fn string(&mut self, code: u8) -> Result<(), String> {
        let count = self.unsigned(if code == b'X' { 4 } else { 1 })?;
        let bytes = self.take(usize::try_from(count).unwrap_or(usize::MAX))?;
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.push(Node::Text(text));
        Ok(())
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or(SHORT)?;
        let line = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.position += 1;
        Ok(line)
    }

    fn global(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        self.push(Node::Global(format!("{module} {name}")));
        Ok(())
    }

    fn remember(&mut self, code: u8) -> Result<(), String> {
        let key = self.unsigned(if matches!(code, b'r' | b'j') { 4 } else { 1 })?;
        if matches!(code, b'q' | b'r') {
            let id = self.stack.last().copied().ok_or("the stack is empty")?;
            self.memo.insert(key, id);
        } else {
            let id = self.memo.get(&key).copied();
            self.stack
                .push(id.ok_or_else(|| format!("value {key} was never remembered"))?);
        }
        Ok(())
    }

    fn sequence(&mut self, code: u8) -> Result<(), String> {
        let count = match code {
            0x85 => 1,
            0x86 => 2,
            0x87 => 3,
            _ => {
                let items = self.pop_to_mark()?;
                self.push(Node::Sequence(items));
                return Ok(());
            }
        };
        let mut items = (0..count)
            .map(|_| self.pop())
            .collect::<Result<Vec<Id>, String>>()?;
        items.reverse();
        self.push(Node::Sequence(items));
        Ok(())
    }

    fn append(&mut self, code: u8) -> Result<(), String> {
        let items = match code {
            b'a' => vec![self.pop()?],
            _ => self.pop_to_mark()?,
        };
        // What is appended to other objects than lists says nothing of tensors.
        if let Node::Sequence(list) = self.top()? {
            list.extend(items);
        }
        Ok(())
    }

    fn dictionary(&mut self, code: u8) -> Result<(), String> {
        let items = match code {
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_to_mark()?,
        };
        if items.len() % 2 != 0 {
            return Err("a key without a value".into());
        }
        let pairs = items.chunks_exact(2).filter_map(|pair| match pair {
            &[key, value] => Some((key, value)),
            _ => None,
        });
        if code == b'd' {
            let pairs = pairs.collect();
            self.push(Node::Dict(pairs));
        } else if let Node::Dict(dict) = self.top()? {
            dict.extend(pairs);
        }
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let ordered = matches!(
            self.nodes.get(function),
            Some(Node::Global(name)) if name == "collections OrderedDict"
        );
        self.push(match ordered {
            true => Node::Dict(Vec::new()),
            false => Node::Called(function, arguments),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_nothing_is_called() {
        // pickle.dumps({"a": (1, -2, 3 << 40), "b": [True, None]}, protocol=2), as Python wrote it.
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01J\xfe\xff\xff\xff\x8a\x06\x00\x00\x00\x00\x00\x03\x87q\x02X\x01\x00\x00\x00bq\x03]q\x04(\x88Neu.";
        let pickle = Pickle::read(bytes).unwrap();
        let Node::Dict(pairs) = pickle.root() else {
            panic!("{:?}", pickle.root());
        };
        let [(a, numbers), (b, list)] = pairs[..] else {
            panic!("{pairs:?}");
        };
        assert_eq!((pickle.text(a), pickle.text(b)), (Some("a"), Some("b")));
        let values = |id: Id| match pickle.node(id) {
            Node::Sequence(items) => items.iter().map(|&id| pickle.node(id).clone()).collect(),
            _ => vec![],
        };
        let expected = [Node::Int(1), Node::Int(-2), Node::Int(3 << 40)];
        assert_eq!(values(numbers), expected);
        assert_eq!(values(list), [Node::Int(1), Node::Other]);

        let attack = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.";
        let pickle = Pickle::read(attack).unwrap();
        let Node::Called(function, _) = pickle.root() else {
            panic!("{:?}", pickle.root());
        };
        assert_eq!(*pickle.node(*function), Node::Global("posix system".into()));
    }

    #[test]
    fn repetition_takes_no_memory() {
        // Each pair holds the one before it twice: 2^200 values, were they copied.
        let mut bytes = b"\x80\x02)q\x00".to_vec();
        for _ in 0..200 {
            bytes.extend(b"h\x00h\x00\x86q\x00");
        }
        bytes.push(b'.');
        assert_eq!(Pickle::read(&bytes).unwrap().nodes.len(), 201);
        // As deep as it is long: neither reading nor dropping it recurses.
        let mut deep = b"\x80\x02)".to_vec();
        deep.extend(std::iter::repeat_n(0x85, 1_000_000));
        deep.push(b'.');
        assert_eq!(Pickle::read(&deep).unwrap().nodes.len(), 1_000_001);
    }

    #[test]
    fn damage_is_told_by_its_place() {
        let told = |bytes: &[u8]| Pickle::read(bytes).unwrap_err();
        assert!(told(b"\x80\x02i").contains("byte 2: instruction 0x69"));
        assert!(told(b"").contains("ends in the middle"));
        assert!(told(b"X\xff\xff\xff\xffab").contains("ends in the middle"));
        assert!(told(b"h\x07.").contains("value 7 was never remembered"));
        assert!(told(b"R.").contains("empty stack"));
        assert!(told(b"(Nu.").contains("without a value"));
        assert!(told(b"t.").contains("a mark is missing"));
        assert!(told(b"\x8a\xff").contains("255 bytes"));
        assert!(told(b"cposix").contains("ends in the middle"));
        // No prefix and no changed byte of a pickle does more than fail.
        let whole = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01K\x02\x86q\x02u.";
        for end in 0..whole.len() {
            assert!(Pickle::read(&whole[..end]).is_err());
        }
        for place in 0..whole.len() {
            for value in 0..=255 {
                let mut changed = whole.to_vec();
                changed[place] = value;
                drop(Pickle::read(&changed));
            }
        }
    }
}

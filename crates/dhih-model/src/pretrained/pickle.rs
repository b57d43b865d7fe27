//! Python's pickle format, as far as PyTorch's checkpoints use it: bytes to values. No code is executed and nothing is trusted: the name of a
//! function remains a name. [`super::pth`] interprets the values.
//!
//! Values are stored in one vector and refer to each other by number. Therefore neither deep nesting nor an object that contains itself costs
//! more than its bytes, and nothing here is recursive.

use std::collections::BTreeMap;

/// The number of a value.
pub(super) type Id = usize;

/// A value, as far as checkpoints need it.
#[derive(Debug)]
pub(super) enum Value {
    /// An integer.
    Int(i64),
    /// A string.
    Text(String),
    /// The qualified name of a class or function, `module.name`.
    Global(String),
    /// A tuple or list.
    Sequence(Vec<Id>),
    /// A dictionary's entries in their order.
    Dict(Vec<(Id, Id)>),
    /// A call of a function, which is not executed.
    Call { function: Id, arguments: Id },
    /// A reference to data outside of the pickle.
    Persistent(Id),
    /// None, a boolean or a float, none of which is needed here.
    Other,
    /// The start of a sequence that is being built.
    Mark,
}

/// The values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Reads one pickle from the beginning of `bytes`, which it advances to the end of the pickle.
    pub(super) fn read(bytes: &mut &[u8]) -> Result<Self, String> {
        let mut machine =
            Machine { bytes, values: Vec::new(), stack: Vec::new(), memo: BTreeMap::new() };
        while machine.step()? {}
        let root = machine.pop()?;
        let values = machine.values;
        Ok(Self { values, root })
    }

    /// The outermost value.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    /// The numbers of all values.
    pub(super) fn ids(&self) -> std::ops::Range<Id> {
        0..self.values.len()
    }

    /// A value by its number.
    pub(super) fn get(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::Other)
    }
}

struct Machine<'a, 'b> {
    bytes: &'a mut &'b [u8],
    values: Vec<Value>,
    stack: Vec<Id>,
    memo: BTreeMap<u32, Id>,
}

impl<'b> Machine<'_, 'b> {
    /// Executes one opcode; returns `false` at the end. The opcodes are those of CPython's `pickletools`.
    fn step(&mut self) -> Result<bool, String> {
        match self.take::<1>()?[0] {
            b'.' => return Ok(false),
            0x80 => drop(self.take::<1>()?),
            0x95 => drop(self.take::<8>()?),
            b'(' => self.push(Value::Mark),
            b'N' | 0x88 | 0x89 => self.push(Value::Other),
            b'G' => {
                self.take::<8>()?;
                self.push(Value::Other);
            }
            b'K' => {
                let [value] = self.take()?;
                self.push(Value::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.take()?);
                self.push(Value::Int(value.into()));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.take()?);
                self.push(Value::Int(value.into()));
            }
            0x8a => self.long()?,
            b'X' => {
                let length = u32::from_le_bytes(self.take()?);
                self.text(length as usize)?;
            }
            b'U' | 0x8c => {
                let [length] = self.take()?;
                self.text(length.into())?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(format!("{module}.{name}")));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) =
                    (&self.values[module], &self.values[name])
                else {
                    return Err("a name that is no text".to_owned());
                };
                let global = format!("{module}.{name}");
                self.push(Value::Global(global));
            }
            b'q' => {
                let [at] = self.take()?;
                self.remember(at.into())?;
            }
            b'r' => {
                let at = u32::from_le_bytes(self.take()?);
                self.remember(at)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let [at] = self.take()?;
                self.recall(at.into())?;
            }
            b'j' => {
                let at = u32::from_le_bytes(self.take()?);
                self.recall(at)?;
            }
            b')' | b']' => self.push(Value::Sequence(Vec::new())),
            b't' | b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Sequence(items));
            }
            op @ 0x85..=0x87 => {
                let count = usize::from(op - 0x84);
                let start = self.stack.len().checked_sub(count).ok_or(EMPTY)?;
                let items = self.stack.split_off(start);
                self.push(Value::Sequence(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.insert(&items)?;
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                // An OrderedDict is created empty and filled afterwards.
                let ordered = matches!(&self.values[function], Value::Global(name) if name == "collections.OrderedDict");
                let call = Value::Call { function, arguments };
                self.push(if ordered { Value::Dict(Vec::new()) } else { call });
            }
            // Attributes of an object, such as `_metadata` of a state dict.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            other => return Err(format!("the pickle instruction {other:#04x} is not known here")),
        }
        Ok(true)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or("it ends too early")?;
        *self.bytes = rest;
        Ok(*taken)
    }

    fn slice(&mut self, length: usize) -> Result<&'b [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or("it ends too early")?;
        *self.bytes = rest;
        Ok(taken)
    }

    fn line(&mut self) -> Result<String, String> {
        let length = self.bytes.iter().position(|&b| b == b'\n').ok_or("it ends too early")?;
        let line = String::from_utf8_lossy(self.slice(length)?).into_owned();
        self.take::<1>()?;
        Ok(line)
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let text = String::from_utf8_lossy(self.slice(length)?).into_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    /// An integer of any length. One of more than 64 bits is not needed.
    fn long(&mut self) -> Result<(), String> {
        let [length] = self.take()?;
        let digits = self.slice(length.into())?;
        let negative = digits.last().is_some_and(|&digit| digit >= 0x80);
        let mut bytes = [if negative { 0xff } else { 0 }; 8];
        self.push(match bytes.get_mut(..digits.len()) {
            Some(low) => {
                low.copy_from_slice(digits);
                Value::Int(i64::from_le_bytes(bytes))
            }
            None => Value::Other,
        });
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(|| EMPTY.to_owned())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let is_mark = |&id: &Id| matches!(self.values[id], Value::Mark);
        let mark = self.stack.iter().rposition(is_mark).ok_or("an unopened sequence is closed")?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        match self.stack.last().map(|&list| &mut self.values[list]) {
            Some(Value::Sequence(list)) => list.extend(items),
            _ => return Err("something is appended to what is no list".to_owned()),
        }
        Ok(())
    }

    fn insert(&mut self, items: &[Id]) -> Result<(), String> {
        match self.stack.last().map(|&dict| &mut self.values[dict]) {
            Some(Value::Dict(dict)) => {
                dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])))
            }
            // Keyed state of an object of another class is ignored.
            Some(Value::Call { .. }) => {}
            _ => return Err("something is entered into what is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn remember(&mut self, at: u32) -> Result<(), String> {
        let id = *self.stack.last().ok_or(EMPTY)?;
        self.memo.insert(at, id);
        Ok(())
    }

    fn recall(&mut self, at: u32) -> Result<(), String> {
        let id = *self.memo.get(&at).ok_or("a value is recalled that was never remembered")?;
        self.stack.push(id);
        Ok(())
    }
}

const EMPTY: &str = "a value is taken where there is none";

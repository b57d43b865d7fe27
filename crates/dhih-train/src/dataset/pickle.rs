//! Python's pickle format, as far as CIFAR-10's batches use it: a dictionary of strings, lists of numbers, and numpy arrays of bytes. No code is
//! executed; names of functions are ignored. (`dhih-model` reads PyTorch's pickles, which have other content.)

use std::collections::BTreeMap;
use std::ops::Range;

/// The number of a value.
type Id = usize;

#[derive(Debug, Clone)]
enum Value {
    /// The position in the file of a string or bytes.
    Bytes(Range<usize>),
    Int(i64),
    Sequence(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// An object, with what it is made from.
    Object(Id),
    Mark,
    Other,
}

/// The content of a dictionary.
pub(super) struct Dict<'a> {
    file: &'a [u8],
    values: Vec<Value>,
    entries: Vec<(Id, Id)>,
}

impl<'a> Dict<'a> {
    /// Reads a file with one dictionary.
    ///
    /// # Errors
    /// A message that says what is wrong.
    pub(super) fn read(file: &'a [u8]) -> Result<Self, String> {
        let mut machine =
            Machine { file, at: 0, values: Vec::new(), stack: Vec::new(), memo: BTreeMap::new() };
        while machine.step()? {}
        let root = machine.pop()?;
        match machine.values[root].clone() {
            Value::Dict(entries) => Ok(Self { file, values: machine.values, entries }),
            _ => Err("its value is no dictionary".to_owned()),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let is_name = |id: Id| match &self.values[id] {
            Value::Bytes(at) => &self.file[at.clone()] == name.as_bytes(),
            _ => false,
        };
        self.entries.iter().find(|(key, _)| is_name(*key)).map(|(_, value)| &self.values[*value])
    }

    /// The bytes of a numpy array.
    pub(super) fn array(&self, name: &str) -> Option<&'a [u8]> {
        let Value::Object(state) = self.get(name)? else { return None };
        let Value::Sequence(parts) = &self.values[*state] else { return None };
        match &self.values[*parts.last()?] {
            Value::Bytes(at) => Some(&self.file[at.clone()]),
            _ => None,
        }
    }

    /// A list of integers.
    pub(super) fn numbers(&self, name: &str) -> Option<Vec<i64>> {
        let Value::Sequence(items) = self.get(name)? else { return None };
        let number = |id: &Id| match self.values[*id] {
            Value::Int(number) => Some(number),
            _ => None,
        };
        items.iter().map(number).collect()
    }
}

struct Machine<'a> {
    file: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    memo: BTreeMap<u32, Id>,
}

impl Machine<'_> {
    /// Executes one opcode; returns `false` at the end. The opcodes are those of CPython's `pickletools`.
    fn step(&mut self) -> Result<bool, String> {
        let code = self.unsigned(1)? as u8;
        match code {
            b'.' => return Ok(false),
            0x80 => _ = self.take(1)?,
            0x95 => _ = self.take(8)?,
            b'}' => self.push(Value::Dict(Vec::new())),
            b']' | b')' => self.push(Value::Sequence(Vec::new())),
            b'(' => self.push(Value::Mark),
            b'N' | 0x88 | 0x89 => self.push(Value::Other),
            b'K' => self.int(1)?,
            b'M' => self.int(2)?,
            b'J' => self.int(4)?,
            b'U' | b'C' | 0x8c => self.bytes(1)?,
            b'T' | b'B' | b'X' => self.bytes(4)?,
            b'c' => {
                for _ in 0..2 {
                    while self.unsigned(1)? != u32::from(b'\n') {}
                }
                self.push(Value::Other);
            }
            b'q' => self.remember(1)?,
            b'r' => self.remember(4)?,
            0x94 => {
                let (next, top) = (self.memo.len() as u32, self.top()?);
                self.memo.insert(next, top);
            }
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,
            b't' => {
                let items = self.until_mark()?;
                self.push(Value::Sequence(items));
            }
            0x85..=0x87 => {
                let mut items: Vec<Id> =
                    (0..code - 0x84).map(|_| self.pop()).collect::<Result<_, _>>()?;
                items.reverse();
                self.push(Value::Sequence(items));
            }
            b'R' | b'b' => {
                // A function's result is represented by its arguments, and an object by its state.
                let (state, _) = (self.pop()?, self.pop()?);
                self.push(Value::Object(state));
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.until_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.until_mark()?;
                self.insert(&items)?;
            }
            other => return Err(format!("instruction {other:#04x} is none that batches have")),
        }
        Ok(true)
    }

    fn take(&mut self, count: usize) -> Result<Range<usize>, String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.file.len());
        let range = self.at..end.ok_or("it is cut short")?;
        self.at = range.end;
        Ok(range)
    }

    fn unsigned(&mut self, width: usize) -> Result<u32, String> {
        let range = self.take(width)?;
        Ok(self.file[range].iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn int(&mut self, width: usize) -> Result<(), String> {
        let number = self.unsigned(width)?;
        let number = if width == 4 { i64::from(number as i32) } else { i64::from(number) };
        self.push(Value::Int(number));
        Ok(())
    }

    fn bytes(&mut self, width: usize) -> Result<(), String> {
        let length = self.unsigned(width)? as usize;
        let range = self.take(length)?;
        self.push(Value::Bytes(range));
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(|| "it takes a value where there is none".to_owned())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "it names a value where there is none".to_owned())
    }

    fn until_mark(&mut self) -> Result<Vec<Id>, String> {
        let is_mark = |id: &Id| matches!(self.values[*id], Value::Mark);
        let at = self.stack.iter().rposition(is_mark).ok_or("it ends what never began")?;
        let items = self.stack.split_off(at + 1);
        self.stack.pop();
        Ok(items)
    }

    fn remember(&mut self, width: usize) -> Result<(), String> {
        let (number, top) = (self.unsigned(width)?, self.top()?);
        self.memo.insert(number, top);
        Ok(())
    }

    fn recall(&mut self, width: usize) -> Result<(), String> {
        let number = self.unsigned(width)?;
        let id = *self.memo.get(&number).ok_or("it recalls what it never had")?;
        self.stack.push(id);
        Ok(())
    }

    fn extend(&mut self, items: Vec<Id>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::Sequence(list) => list.extend(items),
            _ => return Err("it adds to what is no list".to_owned()),
        }
        Ok(())
    }

    fn insert(&mut self, items: &[Id]) -> Result<(), String> {
        let top = self.top()?;
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err("it has a key without a value".to_owned());
        };
        match &mut self.values[top] {
            Value::Dict(entries) => entries.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            _ => return Err("it adds to what is no dictionary".to_owned()),
        }
        Ok(())
    }
}

//! Further columns: what shards have beyond the specification's columns, carried along when rows are
//! copied, whoever wrote it and whatever it means.
//!
//! Two forms can be carried:
//!
//! - values: a tensor of any type whose first dimension is n, the rows; the others are the shape of
//!   what a row has;
//! - lists, such as texts: `NAME_start` U64 [n+1], which rises from 0, and `NAME` of any type and one
//!   dimension: row r has the values from `NAME_start[r]` to `NAME_start[r+1]`. Texts are UTF-8, U8.

use std::ops::Range;

use safetensors::Dtype;

use super::error::BankError;
use super::shard::{Element, Shard};

/// The ending of the column that says where each row's list begins.
const START_ENDING: &str = "_start";

/// A further column: its name and form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FurtherColumn {
    pub name: String,
    pub form: Form,
}

/// What a row has in a further column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Form {
    /// Values of this type in this shape.
    Values { dtype: Dtype, shape: Vec<usize> },
    /// Any number of values of this type.
    List { dtype: Dtype },
}

impl FurtherColumn {
    #[cfg(any(test, feature = "pack"))]
    pub fn value(name: &str, dtype: Dtype) -> FurtherColumn {
        FurtherColumn {
            name: name.to_owned(),
            form: Form::Values {
                dtype,
                shape: Vec::new(),
            },
        }
    }

    #[cfg(any(test, feature = "pack"))]
    pub fn text(name: &str) -> FurtherColumn {
        FurtherColumn {
            name: name.to_owned(),
            form: Form::List { dtype: Dtype::U8 },
        }
    }

    /// The name of the column of a list's starts.
    pub fn start_name(&self) -> String {
        format!("{}{START_ENDING}", self.name)
    }

    pub fn dtype(&self) -> Dtype {
        match self.form {
            Form::Values { dtype, .. } | Form::List { dtype } => dtype,
        }
    }

    /// Whether a row may have that many bytes.
    pub fn takes(&self, bytes: usize) -> bool {
        match &self.form {
            Form::Values { dtype, shape } => row_bytes(*dtype, shape) == Some(bytes),
            Form::List { dtype } => bytes.is_multiple_of(dtype.bitsize() / 8),
        }
    }
}

/// Bytes of values of a row, if these are whole.
fn row_bytes(dtype: Dtype, shape: &[usize]) -> Option<usize> {
    let values = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b))?;
    let bits = values.checked_mul(dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

/// The further columns of a shard, checked, in the order of their names.
#[derive(Debug)]
pub(crate) struct FurtherColumns<'a> {
    shard: &'a Shard,
    columns: Vec<FurtherColumn>,
    ranges: Vec<Place>,
}

/// Where a column lies.
#[derive(Debug)]
enum Place {
    Values {
        values: Range<usize>,
        row_bytes: usize,
    },
    List {
        starts: Range<usize>,
        values: Range<usize>,
        value_bytes: usize,
    },
}

impl<'a> FurtherColumns<'a> {
    /// All columns of a shard but `known` ones.
    ///
    /// # Errors
    /// [`BankError::ExtraColumns`] if one has neither form, [`BankError::Shard`] if the starts of
    /// a list do not fit its values.
    pub fn of(shard: &'a Shard, known: &[&str]) -> Result<FurtherColumns<'a>, BankError> {
        let names = shard.column_names().filter(|name| !known.contains(name));
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        let is_start = |name: &&str| {
            let list = name.strip_suffix(START_ENDING);
            list.is_some_and(|list| names.contains(&list) && list_of(shard, list).is_some())
        };
        let mut found = FurtherColumns {
            shard,
            columns: Vec::new(),
            ranges: Vec::new(),
        };
        let mut lost = Vec::new();
        for &name in names.iter().filter(|name| !is_start(name)) {
            match list_of(shard, name).or_else(|| values_of(shard, name)) {
                Some((form, place)) => found.add(name, form, place)?,
                None => lost.push(name),
            }
        }
        if lost.is_empty() {
            return Ok(found);
        }
        Err(BankError::ExtraColumns {
            shard: shard.file().path().to_owned(),
            columns: lost.join(", "),
        })
    }

    fn add(&mut self, name: &str, form: Form, place: Place) -> Result<(), BankError> {
        if let Place::List {
            starts,
            values,
            value_bytes,
        } = &place
        {
            let count = (values.len() / value_bytes) as u64;
            self.check_starts(name, starts, count)?;
        }
        self.columns.push(FurtherColumn {
            name: name.to_owned(),
            form,
        });
        self.ranges.push(place);
        Ok(())
    }

    fn check_starts(&self, name: &str, range: &Range<usize>, count: u64) -> Result<(), BankError> {
        let starts = self.shard.blob(range).chunks_exact(u64::BYTES);
        let mut previous = 0;
        let last = self.shard.rows();
        for (row, start) in starts.map(u64::from_bytes).enumerate() {
            let is_bound = (row > 0 || start == 0) && (row < last || start == count);
            if !is_bound || start < previous || start > count {
                let problem = format!(
                    "{start} after {previous}; starts that rise from 0 to {count} were expected"
                );
                return Err(self.problem(name, row, &problem));
            }
            previous = start;
        }
        Ok(())
    }

    pub fn columns(&self) -> &[FurtherColumn] {
        &self.columns
    }

    /// What row `row` has in each column.
    ///
    /// # Errors
    /// [`BankError::Shard`] if the file was changed since it was opened, so that a list no longer
    /// fits.
    pub fn cells(&self, row: usize) -> Result<Vec<&'a [u8]>, BankError> {
        let columns = self.columns.iter().zip(&self.ranges);
        columns
            .map(|(column, place)| {
                let cell = place.cell(self.shard, row);
                let problem = "it no longer fits; packs must not be changed in place";
                cell.ok_or_else(|| self.problem(&column.name, row, problem))
            })
            .collect()
    }

    fn problem(&self, name: &str, row: usize, problem: &str) -> BankError {
        BankError::Shard {
            shard: self.shard.file().path().to_owned(),
            problem: format!("row {row}, column `{name}`: {problem}"),
        }
    }
}

impl Place {
    fn cell<'a>(&self, shard: &'a Shard, row: usize) -> Option<&'a [u8]> {
        match self {
            Place::Values { values, row_bytes } => {
                let start = row.checked_mul(*row_bytes)?;
                shard
                    .blob(values)
                    .get(start..start.checked_add(*row_bytes)?)
            }
            Place::List {
                starts,
                values,
                value_bytes,
            } => {
                let starts = shard.blob(starts).chunks_exact(u64::BYTES).skip(row);
                let mut places = starts.map(|start| {
                    let start = usize::try_from(u64::from_bytes(start)).ok()?;
                    start.checked_mul(*value_bytes)
                });
                let (start, end) = (places.next()??, places.next()??);
                shard.blob(values).get(start..end)
            }
        }
    }
}

/// The column as lists, if it and its starts have the form.
fn list_of(shard: &Shard, name: &str) -> Option<(Form, Place)> {
    let starts = shard.tensor_named(&format!("{name}{START_ENDING}"))?;
    let values = shard.tensor_named(name)?;
    let value_bytes = row_bytes(values.dtype, &[])?;
    let has_starts = starts.dtype == Dtype::U64 && starts.shape == [shard.rows().saturating_add(1)];
    (has_starts && values.shape.len() == 1).then(|| {
        let dtype = values.dtype;
        let place = Place::List {
            starts: starts.range.clone(),
            values: values.range.clone(),
            value_bytes,
        };
        (Form::List { dtype }, place)
    })
}

/// The column as values of rows, if it has the form.
fn values_of(shard: &Shard, name: &str) -> Option<(Form, Place)> {
    let tensor = shard.tensor_named(name)?;
    let (&rows, shape) = tensor.shape.split_first()?;
    let row_bytes = row_bytes(tensor.dtype, shape)?;
    (rows == shard.rows()).then(|| {
        let form = Form::Values {
            dtype: tensor.dtype,
            shape: shape.to_vec(),
        };
        let values = tensor.range.clone();
        (form, Place::Values { values, row_bytes })
    })
}

#[cfg(test)]
mod tests;

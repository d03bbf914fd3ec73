//! Writing further columns, row by row.

use std::io;

use safetensors::Dtype;

use super::{Rows, Tensor};
use crate::bank::further::{Form, FurtherColumn};

/// Further columns that grow row by row.
pub(super) struct FurtherRows {
    columns: Vec<(FurtherColumn, Rows, Rows)>,
}

impl FurtherRows {
    pub fn new(columns: &[FurtherColumn]) -> FurtherRows {
        let empty = |column: &FurtherColumn| {
            let mut starts = Rows::default();
            starts.u64s(&[0]);
            (column.clone(), starts, Rows::default())
        };
        FurtherRows {
            columns: columns.iter().map(empty).collect(),
        }
    }

    /// Whether these are the columns, in this order.
    pub fn are(&self, columns: &[FurtherColumn]) -> bool {
        self.columns.iter().map(|(column, ..)| column).eq(columns)
    }

    /// Refuses a row that has not one cell for each column, of a length that it takes.
    pub fn check(&self, cells: &[&[u8]]) -> io::Result<()> {
        let columns = self.columns.iter();
        let fits =
            |((column, ..), cell): (&(FurtherColumn, Rows, Rows), &&[u8])| column.takes(cell.len());
        if cells.len() == self.columns.len() && columns.zip(cells).all(fits) {
            return Ok(());
        }
        let lengths: Vec<usize> = cells.iter().map(|cell| cell.len()).collect();
        let expected: Vec<&FurtherColumn> = self.columns.iter().map(|(c, ..)| c).collect();
        let problem = format!("cells of {lengths:?} bytes for the further columns {expected:?}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
    }

    /// Appends a row that was checked.
    pub fn push(&mut self, cells: &[&[u8]]) {
        for ((column, starts, values), cell) in self.columns.iter_mut().zip(cells) {
            values.bytes.extend_from_slice(cell);
            if let Form::List { dtype } = column.form {
                let count = values.bytes.len() / (dtype.bitsize() / 8);
                starts.u64s(&[count as u64]);
            }
        }
    }

    pub fn tensors(self, rows: usize) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for (column, starts, values) in self.columns {
            let dtype = column.dtype();
            let shape = match &column.form {
                Form::Values { shape, .. } => [&[rows], &shape[..]].concat(),
                Form::List { .. } => {
                    tensors.push(starts.tensor(&column.start_name(), Dtype::U64, 1));
                    vec![values.bytes.len() / (dtype.bitsize() / 8)]
                }
            };
            tensors.push(Tensor {
                name: column.name,
                dtype,
                shape,
                bytes: values.bytes,
            });
        }
        tensors
    }
}

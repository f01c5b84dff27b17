//! Tables for people: columns as wide as what stands in them.

use std::fmt;

/// Rows under headings. A heading that ends in `>` has its column set to the right, as numbers want it.
#[derive(Debug)]
pub(super) struct Table {
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const N: usize>(headings: [&str; N]) -> Self {
        let right = headings.iter().map(|heading| heading.ends_with('>')).collect();
        let head = headings.iter().map(|heading| heading.trim_end_matches('>').to_owned()).collect();
        Table { right, rows: vec![head] }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.right.len(), "a row has a cell in each column");
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..self.right.len()).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).zip(&self.right);
            let cells = cells.map(|((cell, width), right)| match right {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_blanks() {
        let mut table = Table::new(["source", "next>", "standing"]);
        table.row(["clicks".into(), "7".into(), "idle".into()]);
        table.row(["é".into(), "1,000".into(), String::new()]);
        assert_eq!(table.to_string(), "source   next  standing\nclicks      7  idle\né       1,000\n");
    }
}

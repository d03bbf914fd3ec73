//! COCO's compressed run-length encoding.

/// The compressed `counts` string of a mask that is given row after row.
pub fn rle_counts(mask: &[bool], width: usize, height: usize) -> String {
    let runs = run_lengths(mask, width, height);
    let mut text = String::new();
    for index in 0..runs.len() {
        // The fourth count and those after it are written as the difference to the one two before.
        let number = if index > 2 {
            runs[index] - runs[index - 2]
        } else {
            runs[index]
        };
        push_number(&mut text, number);
    }
    text
}

/// The lengths of the runs, column after column; the first run counts zeros and may be empty.
fn run_lengths(mask: &[bool], width: usize, height: usize) -> Vec<i64> {
    assert_eq!(mask.len(), width * height);
    let mut runs = Vec::new();
    let mut value = false;
    let mut length = 0;
    for x in 0..width {
        for y in 0..height {
            if mask[y * width + x] != value {
                runs.push(length);
                value = !value;
                length = 0;
            }
            length += 1;
        }
    }
    runs.push(length);
    runs
}

/// One number in two's complement, five bits a character, lowest first. Bit 5 of a character says
/// that more follow; the last character's bit 4 is the sign of all that is left out.
fn push_number(text: &mut String, number: i64) {
    let mut rest = number;
    loop {
        let five_bits = rest & 31;
        rest >>= 5;
        let sign_if_last = if five_bits & 16 != 0 { -1 } else { 0 };
        let more = rest != sign_if_last;
        let code = five_bits + if more { 32 } else { 0 } + 48;
        text.push(char::from(u8::try_from(code).unwrap()));
        if !more {
            return;
        }
    }
}

use super::*;

fn rle(width: u32, height: u32, counts: &[u32]) -> Rle {
    Rle::from_counts(width, height, counts.to_vec()).expect("counts cover the image")
}

#[test]
fn counts_must_cover_the_image() {
    assert_eq!(
        Rle::from_counts(2, 3, vec![1, 2]),
        Err(RleError::WrongSum {
            width: 2,
            height: 3,
            expected: 6,
            found: 3
        })
    );
    assert!(matches!(
        Rle::from_counts(1, 1, vec![u32::MAX, u32::MAX]),
        Err(RleError::WrongSum { found, .. }) if found == 2 * u64::from(u32::MAX)
    ));
    assert!(matches!(
        Rle::from_counts(65_536, 65_536, vec![0]),
        Err(RleError::TooManyPixels { .. })
    ));
    assert!(Rle::from_counts(0, 7, vec![]).is_ok());
    assert!(Rle::from_counts(u32::MAX, 1, vec![1, u32::MAX - 1]).is_ok());
}

#[test]
fn zero_length_runs_are_kept_and_change_nothing() {
    let mask = rle(2, 5, &[3, 0, 2, 1, 0, 2, 2, 0]);
    assert_eq!(mask.area(), 3);
    assert_eq!(mask.bounding_box(), Some([1, 0, 1, 3]));
    assert_eq!(Rle::from_string(2, 5, &mask.compressed()), Ok(mask.clone()));
    assert_eq!(Rle::union(std::slice::from_ref(&mask)), Ok(mask.clone()));
    assert_eq!(Rle::union(&[mask.clone(), mask]), Ok(rle(2, 5, &[5, 3, 2])));
}

#[test]
fn compressed_text_of_small_and_large_numbers() {
    // 15 fits one signed group of five bits, 16 does not.
    assert_eq!(rle(1, 15, &[15]).compressed(), "?");
    assert_eq!(rle(1, 16, &[16]).compressed(), "`0");
    // The fourth run is written as 1 - 3 = -2, the fifth as 31 - 1 = 30.
    let mask = rle(1, 41, &[5, 3, 1, 1, 31]);
    assert_eq!(mask.compressed(), "531Nn0");
    assert_eq!(Rle::from_string(1, 41, "531Nn0"), Ok(mask));
    let longest = rle(u32::MAX, 1, &[0, 0, u32::MAX, 0, 0]);
    assert_eq!(
        Rle::from_string(u32::MAX, 1, &longest.compressed()),
        Ok(longest)
    );
}

#[test]
fn malformed_text_is_refused() {
    let read = |text: &str| Rle::from_string(1, 4, text);
    assert_eq!(
        read("1~"),
        Err(RleError::UnexpectedCharacter {
            character: '~',
            position: 1
        })
    );
    for text in ["4 ", "\u{e9}", "/", "p", "4\0"] {
        assert!(matches!(
            read(text),
            Err(RleError::UnexpectedCharacter { .. })
        ));
    }
    assert_eq!(read("4P"), Err(RleError::Truncated { length: 2 }));
    assert!(matches!(
        read("PPPPPPP0"),
        Err(RleError::NumberTooLong { position: 7, .. })
    ));
    assert_eq!(read("TPPPPP0"), Ok(rle(1, 4, &[4])));
    assert_eq!(
        read("O"),
        Err(RleError::LengthOutOfRange { run: 0, length: -1 })
    );
    assert_eq!(read("ooooooo"), Err(RleError::Truncated { length: 7 }));
    assert!(matches!(
        read("PPPPPP4"),
        Err(RleError::LengthOutOfRange { run: 0, .. })
    ));
    assert!(matches!(read("3"), Err(RleError::WrongSum { .. })));
    assert!(matches!(read(""), Err(RleError::WrongSum { .. })));
}

#[test]
fn boxes_and_pieces() {
    let mask = rle(3, 4, &[2, 4, 6]);
    assert_eq!(mask.bounding_box(), Some([0, 0, 2, 4]));
    let mut pieces = Vec::new();
    mask.for_each_run(|x, rows| pieces.push((x, rows)));
    assert_eq!(pieces, [(0, 2..4), (1, 0..2)]);
    assert_eq!(rle(3, 4, &[12]).bounding_box(), None);
    assert_eq!(rle(0, 4, &[0, 0]).bounding_box(), None);
    assert_eq!(rle(3, 4, &[0, 12]).bounding_box(), Some([0, 0, 3, 4]));
}

#[test]
fn union_joins_touching_runs() {
    let parts = [rle(2, 4, &[0, 2, 6]), rle(2, 4, &[2, 1, 4, 1])];
    assert_eq!(Rle::union(&parts), Ok(rle(2, 4, &[0, 3, 4, 1])));
    assert_eq!(Rle::union(&[]), Err(RleError::NoParts));
    assert!(matches!(
        Rle::union(&[rle(2, 4, &[8]), rle(4, 2, &[8])]),
        Err(RleError::SizeMismatch { part: 1, .. })
    ));
    let empty = [rle(0, 4, &[0]), rle(0, 4, &[])];
    assert_eq!(Rle::union(&empty), Ok(rle(0, 4, &[0])));
}

#[test]
fn box_bits_become_runs() {
    // A solid box as high as the image is one run.
    let solid = Rle::from_box_bits(40, 2, [1, 0, 35, 2], 2, &[u32::MAX; 4]);
    assert_eq!(solid, Ok(rle(40, 2, &[2, 70, 8])));
    let corner = Rle::from_box_bits(2, 2, [0, 0, 1, 1], 1, &[1]);
    assert_eq!(corner, Ok(rle(2, 2, &[0, 1, 3])));
    assert_eq!(
        Rle::from_box_bits(2, 2, [2, 2, 0, 0], 0, &[]),
        Ok(rle(2, 2, &[4]))
    );
}

#[test]
fn box_bits_that_do_not_fit_are_refused() {
    assert!(matches!(
        Rle::from_box_bits(4, 4, [u32::MAX, 0, 2, 1], 1, &[0]),
        Err(RleError::BoxOutsideImage { .. })
    ));
    assert_eq!(
        Rle::from_box_bits(64, 4, [0, 0, 33, 1], 1, &[0; 2]),
        Err(RleError::RowTooShort {
            found: 1,
            expected: 2
        })
    );
    assert_eq!(
        Rle::from_box_bits(64, 4, [0, 0, 33, 4], 3, &[0; 10]),
        Err(RleError::PlaneTooShort {
            found: 10,
            expected: 11
        })
    );
    assert!(matches!(
        Rle::from_box_bits(64, 4, [0, 0, 33, 4], usize::MAX, &[0; 10]),
        Err(RleError::PlaneTooShort { .. })
    ));
}

#[test]
fn bits_are_appended_row_by_row() {
    // Rows of the mask: .#. / ##. / ##.
    let mask = rle(3, 3, &[1, 5, 3]);
    let mut bytes = vec![7];
    assert_eq!(mask.fill_bits([0, 0, 3, 3], &mut bytes), Ok(()));
    assert_eq!(bytes, [7, 0b1101_1010, 0]);
    assert_eq!(mask.fill_bits([1, 1, 2, 2], &mut bytes), Ok(()));
    assert_eq!(bytes, [7, 0b1101_1010, 0, 0b0101]);
    assert!(mask.fill_bits([2, 0, 2, 1], &mut bytes).is_err());
    assert_eq!(bytes.len(), 4);
}

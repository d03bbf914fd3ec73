use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn key(cutout: u64) -> Key {
    let level = [8, 8];
    Key { cutout, level }
}

fn entries(units: u32) -> Entries {
    Entries::new(units)
}

const BYTES: usize = UNIT as usize;

#[test]
fn what_was_brought_is_there_for_its_ticket_and_later_ones() {
    let mut entries = entries(8);
    let Found::Store(offset) = entries.look_up(5, key(1), BYTES) else {
        panic!("an empty cache has room");
    };
    assert_eq!(entries.look_up(5, key(1), BYTES), Found::There(offset));
    assert_eq!(entries.look_up(9, key(1), BYTES), Found::There(offset));
    // Batch 4 runs before the copy of batch 5.
    assert_eq!(entries.look_up(4, key(1), BYTES), Found::Ship);
    assert!(entries.holds(5, key(1)) && !entries.holds(4, key(1)));
    let other_level = Key {
        level: [4, 4],
        ..key(1)
    };
    assert!(!entries.holds(9, other_level));
    let figures = entries.figures();
    assert_eq!((figures.hits, figures.misses), (2, 2));
    assert_eq!(figures.resident_bytes, UNIT);
}

#[test]
fn only_what_earlier_tickets_used_last_is_evicted() {
    let mut entries = entries(2);
    assert!(matches!(entries.look_up(1, key(1), BYTES), Found::Store(_)));
    assert!(matches!(entries.look_up(2, key(2), BYTES), Found::Store(_)));
    // The batch itself uses the one, and a later batch the other.
    assert_eq!(entries.look_up(1, key(3), BYTES), Found::Ship);
    assert!(entries.holds(2, key(1)) && entries.holds(2, key(2)));
    // The least recently used goes first.
    assert!(matches!(entries.look_up(3, key(1), BYTES), Found::There(_)));
    assert!(matches!(entries.look_up(4, key(3), BYTES), Found::Store(_)));
    assert!(entries.holds(4, key(1)) && !entries.holds(4, key(2)));
    assert_eq!(entries.figures().resident_bytes, 2 * UNIT);
}

#[test]
fn no_ticket_takes_memory_that_its_own_batch_may_still_read() {
    let mut entries = entries(8);
    for cutout in [1, 9] {
        assert!(matches!(
            entries.look_up(1, key(cutout), 4 * BYTES),
            Found::Store(_)
        ));
        assert!(matches!(
            entries.look_up(2, key(cutout), 4 * BYTES),
            Found::There(_)
        ));
    }
    // Batch 3 evicts the first and takes one unit of four; a slow thread of batch 2, which reads all
    // four, must not get the others.
    assert!(matches!(entries.look_up(3, key(2), BYTES), Found::Store(_)));
    assert_eq!(entries.look_up(2, key(3), BYTES), Found::Ship);
    assert!(matches!(entries.look_up(3, key(3), BYTES), Found::Store(_)));
}

#[test]
fn recalled_batches_brought_nothing() {
    let mut entries = entries(4);
    for ticket in 1..=4 {
        assert!(matches!(
            entries.look_up(ticket, key(ticket), BYTES),
            Found::Store(_)
        ));
    }
    assert!(matches!(entries.look_up(4, key(1), BYTES), Found::There(_)));
    entries.forget_from(3);
    assert_eq!(entries.figures().resident_bytes, 2 * UNIT);
    assert!(entries.holds(5, key(1)) && entries.holds(5, key(2)));
    for cutout in [3, 4] {
        assert!(matches!(
            entries.look_up(5, key(cutout), BYTES),
            Found::Store(_)
        ));
    }
}

#[test]
fn what_is_larger_than_half_of_the_cache_evicts_nothing() {
    let mut entries = entries(4);
    assert!(matches!(entries.look_up(1, key(1), BYTES), Found::Store(_)));
    assert_eq!(entries.look_up(2, key(2), 2 * BYTES + 1), Found::Ship);
    assert_eq!(entries.look_up(2, key(2), 4 * BYTES), Found::Ship);
    assert_eq!(entries.look_up(2, key(2), usize::MAX), Found::Ship);
    assert!(entries.holds(2, key(1)));
}

#[test]
fn scattered_holes_become_one() {
    let mut entries = entries(64);
    for cutout in 0..64 {
        assert!(matches!(
            entries.look_up(1, key(cutout), BYTES),
            Found::Store(_)
        ));
    }
    // Every other one is used again: evicting the rest leaves holes of one unit.
    for cutout in (0..64).step_by(2) {
        assert!(matches!(
            entries.look_up(2, key(cutout), BYTES),
            Found::There(_)
        ));
    }
    // Something of four units needs neighbours, so that some of those used later must go, too.
    assert!(matches!(
        entries.look_up(3, key(100), 4 * BYTES),
        Found::Store(_)
    ));
    let left = (0..64).filter(|&cutout| entries.holds(3, key(cutout)));
    assert!((1..=31).contains(&left.count()));
}

#[test]
fn a_look_up_evicts_only_so_many() {
    let mut entries = entries(4096);
    for cutout in 0..200 {
        assert!(matches!(
            entries.look_up(1, key(cutout), 20 * BYTES),
            Found::Store(_)
        ));
    }
    // Half of the cache is more than one look-up frees; the next goes on from there.
    assert_eq!(entries.look_up(2, key(1000), 2048 * BYTES), Found::Ship);
    let left = 200 - MOST_EVICTED as u64;
    assert_eq!(entries.figures().resident_bytes, left * 20 * UNIT);
    assert!(matches!(
        entries.look_up(2, key(1000), 2048 * BYTES),
        Found::Store(_)
    ));
}

#[test]
fn a_list_that_is_full_makes_room_as_memory_does() {
    let mut entries = entries(4096);
    for ticket in 0..4000 {
        let found = entries.look_up(ticket, key(ticket), BYTES);
        assert!(matches!(found, Found::Store(_)), "{ticket}");
    }
    // So small that the list holds fewer of them than the memory.
    let kept = entries.entries.len();
    assert!((64..2000).contains(&kept), "{kept}");
    assert_eq!(entries.figures().resident_bytes, kept as u64 * UNIT);
}

/// One thread's look-up: how many batches ahead of the oldest one it works, which cutout.
type Step = (u64, u64);

fn bytes_of(cutout: u64) -> usize {
    // From one unit to nine.
    (1 + (cutout as usize * 7) % 9) * BYTES - (cutout as usize % 3)
}

/// What a batch would do on the device.
#[derive(Default)]
struct Batch {
    stores: Vec<(u64, u64)>,
    reads: Vec<(u64, u64)>,
}

/// The naive model: device memory in units, each with the cutout that it holds a part of. Batches
/// run one after another, each with its copies first.
fn run_on_device(memory: &mut [Option<(u64, usize)>], batch: &Batch) {
    let units = |cutout: u64| bytes_of(cutout).div_ceil(BYTES);
    for &(cutout, offset) in &batch.stores {
        let first = (offset / UNIT) as usize;
        for part in 0..units(cutout) {
            memory[first + part] = Some((cutout, part));
        }
    }
    for &(cutout, offset) in &batch.reads {
        let first = (offset / UNIT) as usize;
        for part in 0..units(cutout) {
            assert_eq!(memory[first + part], Some((cutout, part)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever order threads gather in, and whichever batches are recalled, every batch finds on
    /// the device what it was promised.
    #[test]
    fn every_batch_finds_what_it_was_promised(
        units in 3u32..40,
        steps in prop::collection::vec((0u64..3, 0u64..25), 1..300),
        launches in prop::collection::vec(0usize..12, 1..40),
    ) {
        let mut entries = Entries::new(units);
        let mut memory = vec![None; units as usize];
        let mut pending: BTreeMap<u64, Batch> = BTreeMap::new();
        let mut oldest = 0;
        let mut newest = 0;
        let mut launches = launches.iter().cycle();
        let mut until_launch = 3;
        let mut hits = 0u64;
        let steps: &[Step] = &steps;
        for &(ahead, cutout) in steps {
            let ticket = oldest + ahead;
            newest = newest.max(ticket);
            let batch = pending.entry(ticket).or_default();
            match entries.look_up(ticket, key(cutout), bytes_of(cutout)) {
                Found::There(offset) => {
                    hits += 1;
                    batch.reads.push((cutout, offset));
                }
                Found::Store(offset) => batch.stores.push((cutout, offset)),
                Found::Ship => {}
            }
            until_launch -= 1;
            if until_launch > 0 {
                continue;
            }
            match *launches.next().unwrap() {
                // Recalled: the batches that were not launched never run.
                0 => {
                    entries.forget_from(oldest);
                    pending.clear();
                    oldest = newest + 1;
                    until_launch = 1;
                }
                length => {
                    run_on_device(&mut memory, &pending.remove(&oldest).unwrap_or_default());
                    oldest += 1;
                    until_launch = length as u64;
                }
            }
            newest = newest.max(oldest);
        }
        for batch in pending.values() {
            run_on_device(&mut memory, batch);
        }
        let figures = entries.figures();
        prop_assert_eq!(figures.hits, hits);
        prop_assert_eq!(figures.hits + figures.misses, steps.len() as u64);
        prop_assert!(figures.resident_bytes <= u64::from(units) * UNIT);
    }
}

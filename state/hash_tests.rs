//! Fixtures: these values are part of every checkpoint's format. A change here is a new codec version.

use std::collections::BTreeMap;

use serde::Serialize;

use super::*;
use crate::KeyGroup;

#[derive(Serialize)]
struct Route {
    from: &'static str,
    flight: u32,
}

#[derive(Serialize)]
struct Airport(String);

#[derive(Serialize)]
enum Place {
    Nowhere,
    Elsewhere,
    Gate(u16),
    Seat { row: u16, letter: char },
    Span(i64, i64),
}

#[derive(Serialize)]
struct Nothing;

#[rustfmt::skip]
fn fixtures() -> Vec<(u64, u64)> {
    vec![
        (stable_hash(&0u64), 0x4dac_1205_2d0c_6624),
        (stable_hash(&1u64), 0xdc98_6302_0bbe_fa54),
        (stable_hash(&u64::MAX), 0xd9c8_4106_e3a1_54d6),
        (stable_hash(&-1i8), 0xd9c8_4106_e3a1_54d6),
        (stable_hash(&300u16), 0x5a3f_c3eb_4fae_d43b),
        (stable_hash(&u128::MAX), 0xabae_02f5_9b0b_394e),
        (stable_hash(&i128::MIN), 0xff2f_9101_6798_3d31),
        (stable_hash(&true), 0xdc98_6302_0bbe_fa54),
        (stable_hash(&'x'), 0x0b05_c23e_d0ea_8652),
        (stable_hash(&1.5f32), 0x7dbf_a0fa_c52e_2b37),
        (stable_hash(&1.5f64), 0xab83_03e4_05e7_7f24),
        (stable_hash(&-0.0f64), 0xe276_d04f_382b_7ad2),
        (stable_hash(""), 0x4dac_1205_2d0c_6624),
        (stable_hash("a"), 0xea81_d3b6_72a3_60a6),
        (stable_hash("ab"), 0x8ae9_02a6_3ce9_ce36),
        (stable_hash("LGA"), 0x153c_6015_e39b_9867),
        (stable_hash("EWR1"), 0x5cff_32da_d2f0_a134),
        (stable_hash("seven c"), 0x0679_b148_1b2c_f498),
        (stable_hash("eight ch"), 0x329b_5027_c674_3023),
        (stable_hash("sixteen char txt"), 0x54d3_a324_1d27_566f),
        (stable_hash("seventeen chars t"), 0x7f85_a13c_3219_6297),
        (stable_hash("forty characters of text to take a while"), 0x4c6f_938f_a020_1c5a),
        (stable_hash(&("a", "bc")), 0xbb21_9112_88b0_7c24),
        (stable_hash(&("ab", "c")), 0x0613_e14e_319d_e4c3),
        (stable_hash(&(1u64, -1i64, false)), 0x5a4f_116a_36f3_ddc3),
        (stable_hash(&[1u8, 2, 3]), 0x9e51_1085_b3ae_edb3),
        (stable_hash(&vec![1u8, 2, 3]), 0xdc0e_918d_e031_9287),
        (stable_hash(&Vec::<u8>::new()), 0xaa13_f239_b1d6_b881),
        (stable_hash(&()), 0x89c8_d082_40ca_6430),
        (stable_hash(&Nothing), 0x89c8_d082_40ca_6430),
        (stable_hash(&None::<u64>), 0x635a_c0b8_f9f9_35ab),
        (stable_hash(&Some(0u64)), 0xa1a1_90a5_0f19_3b31),
        (stable_hash(&Some(None::<u64>)), 0xb1a2_71dd_85c1_cd27),
        (stable_hash(&Route { from: "JFK", flight: 1545 }), 0x4b71_d3ff_36d9_6aa4),
        (stable_hash(&Airport("JFK".into())), 0xd1bc_9396_047e_572d),
        (stable_hash(&Place::Nowhere), 0x41f0_92b3_933c_6613),
        (stable_hash(&Place::Gate(7)), 0xd2a1_f1d8_9e09_1325),
        (stable_hash(&Place::Seat { row: 12, letter: 'c' }), 0x40da_4213_1c96_d904),
        (stable_hash(&Place::Span(-1, 1)), 0x83e1_10cd_390d_9b06),
        (stable_hash(&BTreeMap::from([(1u8, "one"), (2, "two")])), 0x3057_c1ab_c15d_4912),
        (stable_hash(&crate::Timestamp::from_micros(5)), 0xb4cb_1254_91dc_c335),
        (stable_hash(&std::net::Ipv4Addr::LOCALHOST), 0xc59b_b20b_01da_5eb9),
    ]
}

#[test]
fn hashes_are_those_of_version_one() {
    for (hash, fixture) in fixtures() {
        assert_eq!(hash, fixture, "{hash:#018x} instead of {fixture:#018x}");
    }
}

#[test]
fn what_differs_hashes_differently() {
    assert_ne!(stable_hash(&("a", "bc")), stable_hash(&("ab", "c")));
    assert_ne!(stable_hash(&("", "a")), stable_hash(&("a", "")));
    assert_ne!(stable_hash(&None::<u64>), stable_hash(&0u64));
    assert_ne!(stable_hash(&None::<u64>), stable_hash(&Some(0u64)));
    assert_ne!(stable_hash(&Some(0u64)), stable_hash(&0u64));
    assert_ne!(stable_hash(&(1u8, 2u8)), stable_hash(&(2u8, 1u8)));
    assert_ne!(stable_hash(&Place::Nowhere), stable_hash(&Place::Elsewhere));
    assert_ne!(stable_hash(&0.0f64), stable_hash(&-0.0f64));
    assert_ne!(stable_hash(&vec![vec![1u8], vec![]]), stable_hash(&vec![vec![], vec![1u8]]));
    assert_ne!(stable_hash(&vec![0u8; 3]), stable_hash(&vec![0u8; 4]));
    let texts: Vec<String> = (0..200).map(|len| "a".repeat(len)).collect();
    let mut hashes: Vec<u64> = texts.iter().map(stable_hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), texts.len());
}

#[test]
fn every_byte_of_a_text_counts() {
    for len in [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 64, 100] {
        let plain = "x".repeat(len);
        for at in 0..len {
            let mut other = plain.clone();
            other.replace_range(at..=at, "y");
            assert_ne!(stable_hash(&plain), stable_hash(&other), "byte {at} of {len}");
        }
    }
}

#[test]
fn what_is_equal_in_meaning_hashes_alike() {
    assert_eq!(stable_hash("LGA"), stable_hash(&Airport("LGA".into())));
    assert_eq!(stable_hash(&7u8), stable_hash(&7usize));
    assert_eq!(stable_hash(&-7i8), stable_hash(&-7isize));
    assert_eq!(stable_hash(&Box::new(7u64)), stable_hash(&7u64));
    struct Unsure;
    impl Serialize for Unsure {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut seq = to.serialize_seq(None)?;
            (0..3u8).try_for_each(|n| seq.serialize_element(&n))?;
            seq.end()
        }
    }
    assert_eq!(stable_hash(&Unsure), stable_hash(&vec![0u8, 1, 2]));
}

#[test]
#[should_panic(expected = "cannot be hashed: no")]
fn a_key_that_refuses_to_be_serialised_panics() {
    struct Never;
    impl Serialize for Never {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(ser::Error::custom("no"))
        }
    }
    let _ = stable_hash(&Never);
}

/// Chi-square of counts against an even spread, in standard deviations from what chance gives.
fn unevenness(counts: &[u32]) -> f64 {
    let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
    let chi: f64 = counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    let freedom = counts.len() as f64 - 1.0;
    (chi - freedom) / (2.0 * freedom).sqrt()
}

#[test]
fn keys_spread_evenly_over_groups_buckets_and_tags() {
    const KEYS: u64 = 200_000;
    type Family = (&'static str, Box<dyn Fn(u64) -> u64>);
    let families: [Family; 9] = [
        ("counting", Box::new(|n| stable_hash(&n))),
        ("counting from below zero", Box::new(|n| stable_hash(&(n as i64 - 100_000)))),
        ("multiples of 4096", Box::new(|n| stable_hash(&(n << 12)))),
        ("high bits only", Box::new(|n| stable_hash(&(n << 46)))),
        ("pairs", Box::new(|n| stable_hash(&(n % 450, n / 450)))),
        ("short texts", Box::new(|n| stable_hash(&format!("{n}")))),
        ("texts with a prefix", Box::new(|n| stable_hash(&format!("customer-{n:06}")))),
        ("long texts", Box::new(|n| stable_hash(&format!("https://example.org/some/long/path/{n}/and/the/rest")))),
        ("floats", Box::new(|n| stable_hash(&(n as f64 / 8.0)))),
    ];
    for (family, hash) in families {
        let (mut groups, mut buckets, mut tags) = (vec![0; KeyGroup::COUNT], vec![0; 1024], vec![0; 128]);
        let mut seen = Vec::new();
        for n in 0..KEYS {
            let hash = hash(n);
            assert_eq!(hash & SPARE_BITS, 0);
            groups[KeyGroup::of(hash).index()] += 1;
            buckets[hash as usize % 1024] += 1;
            tags[(hash >> 57) as usize] += 1;
            seen.push(hash);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len() as u64, KEYS, "{family} collide");
        for (what, counts) in [("groups", groups), ("buckets", buckets), ("tags", tags)] {
            assert!(unevenness(&counts) < 5.0, "{family} spread badly over {what}: {}", unevenness(&counts));
        }
    }
}

#[test]
fn buckets_are_even_inside_one_worker() {
    let mut buckets = vec![0; 256];
    for n in 0..400_000u64 {
        let hash = stable_hash(&n);
        if KeyGroup::of(hash).worker(4) == 2 {
            buckets[hash as usize % 256] += 1;
        }
    }
    assert!(unevenness(&buckets) < 5.0);
}

//! Loads, stores and fetches where nothing is.

use crate::code::Attacker;

/// Loads and stores of a word and a double word by x1, and BR x1.
const ACCESSES: [u32; 5] = [0xb940_0020, 0xf940_0020, 0xb900_0020, 0xf900_0020, 0xd61f_0020];
/// Past the 40 bits of a guest's IPA space, up to the 44 of the physical addresses of a Cortex-A72.
const BEYOND: [u64; 6] = [1 << 40, (1 << 40) - 8, 1 << 41, 1 << 43, (1 << 44) - 8, 1 << 47];

/// One access to anything but the program's own RAM.
pub(crate) fn once(attacker: &mut Attacker<'_>) {
    let access = attacker.random.pick(&ACCESSES[..4]);
    let address = if attacker.random.below(8) == 0 { attacker.random.pick(&BEYOND) } else { attacker.wild_address() };
    attacker.run_watched(&[access], [attacker.machine.memory, address, 0]);
}

/// Accesses to anything but the program's own RAM.
pub(crate) fn unmapped(attacker: &mut Attacker<'_>) {
    for access in ACCESSES {
        for address in BEYOND {
            attacker.run_watched(&[access], [0, address, 0]);
        }
        for _ in 0..attacker.rounds() / 5 {
            let address = attacker.wild_address();
            attacker.run_watched(&[access], [attacker.machine.memory, address, 0]);
        }
    }
}

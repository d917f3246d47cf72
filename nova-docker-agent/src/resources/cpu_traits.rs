//! What the processors can do, as traits (Nova: `nova.virt.libvirt.utils.CPU_TRAITS_MAPPING`); pure. A container runs on the
//! host's processors as they are, so all that they can do is the instance's.

use std::collections::BTreeSet;

/// Each core has several threads (Nova's libvirt driver: `_get_cpu_traits`).
pub(super) const HYPERTHREADING: &str = "HW_CPU_HYPERTHREADING";

/// The kernel's word and the trait. libvirt, whose words Nova has, calls some otherwise (`pni` is its `sse3`).
const TRAITS: &[(&str, &str)] = &[
    ("3dnow", "HW_CPU_X86_3DNOW"),
    ("abm", "HW_CPU_X86_ABM"),
    ("aes", "HW_CPU_X86_AESNI"),
    ("amx_bf16", "HW_CPU_X86_AMXBF16"),
    ("amx_int8", "HW_CPU_X86_AMXINT8"),
    ("amx_tile", "HW_CPU_X86_AMXTILE"),
    ("avx", "HW_CPU_X86_AVX"),
    ("avx2", "HW_CPU_X86_AVX2"),
    ("avx512_bitalg", "HW_CPU_X86_AVX512BITALG"),
    ("avx512_vbmi2", "HW_CPU_X86_AVX512VBMI2"),
    ("avx512_vnni", "HW_CPU_X86_AVX512VNNI"),
    ("avx512_vpopcntdq", "HW_CPU_X86_AVX512VPOPCNTDQ"),
    ("avx512bw", "HW_CPU_X86_AVX512BW"),
    ("avx512cd", "HW_CPU_X86_AVX512CD"),
    ("avx512dq", "HW_CPU_X86_AVX512DQ"),
    ("avx512er", "HW_CPU_X86_AVX512ER"),
    ("avx512f", "HW_CPU_X86_AVX512F"),
    ("avx512ifma", "HW_CPU_X86_AVX512IFMA"),
    ("avx512pf", "HW_CPU_X86_AVX512PF"),
    ("avx512vbmi", "HW_CPU_X86_AVX512VBMI"),
    ("avx512vl", "HW_CPU_X86_AVX512VL"),
    ("bmi1", "HW_CPU_X86_BMI"),
    ("bmi2", "HW_CPU_X86_BMI2"),
    ("f16c", "HW_CPU_X86_F16C"),
    ("fma", "HW_CPU_X86_FMA3"),
    ("fma4", "HW_CPU_X86_FMA4"),
    ("gfni", "HW_CPU_X86_AVX512GFNI"),
    ("mmx", "HW_CPU_X86_MMX"),
    ("mpx", "HW_CPU_X86_MPX"),
    ("pclmulqdq", "HW_CPU_X86_CLMUL"),
    ("pni", "HW_CPU_X86_SSE3"),
    ("sha_ni", "HW_CPU_X86_SHA"),
    ("sse", "HW_CPU_X86_SSE"),
    ("sse2", "HW_CPU_X86_SSE2"),
    ("sse4_1", "HW_CPU_X86_SSE41"),
    ("sse4_2", "HW_CPU_X86_SSE42"),
    ("sse4a", "HW_CPU_X86_SSE4A"),
    ("ssse3", "HW_CPU_X86_SSSE3"),
    ("svm", "HW_CPU_X86_AMD_SVM"),
    ("svm", "HW_CPU_X86_SVM"),
    ("tbm", "HW_CPU_X86_TBM"),
    ("vaes", "HW_CPU_X86_AVX512VAES"),
    ("vmx", "HW_CPU_X86_INTEL_VMX"),
    ("vmx", "HW_CPU_X86_VMX"),
    ("vpclmulqdq", "HW_CPU_X86_AVX512VPCLMULQDQ"),
    ("xop", "HW_CPU_X86_XOP"),
];

/// The traits of processors with these flags.
pub(super) fn of(flags: &BTreeSet<String>) -> impl Iterator<Item = &'static str> {
    TRAITS.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name)
}

/// True for a trait that is given by what the processors can do.
pub(super) fn is_one(name: &str) -> bool {
    name == HYPERTHREADING || TRAITS.iter().any(|(_, known)| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_words_become_the_traits_of_libvirt_s() {
        let flags = ["fpu", "pni", "sse4_1", "sha_ni", "vmx", "avx512_vnni"];
        let flags = flags.map(str::to_owned).into();
        let expected = ["AVX512VNNI", "INTEL_VMX", "SHA", "SSE3", "SSE41", "VMX"];
        let expected: BTreeSet<String> = expected.map(|name| format!("HW_CPU_X86_{name}")).into();
        assert_eq!(of(&flags).map(str::to_owned).collect::<BTreeSet<_>>(), expected);
        assert!(is_one("HW_CPU_X86_SSE") && !is_one("HW_CPU_X86_SGX") && !is_one("HW_ARCH_X86_64"));
    }
}

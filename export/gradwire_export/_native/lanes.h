/* Rows in the lanes of the vector unit, by the vector extensions of GCC and Clang. */
#include <stdint.h>

#if REAL_BITS == 32
#define INT int32_t
#define BIAS 127
#define MANTISSA 23
#define LEAST_EXPONENT -104.0f
#define LARGEST_EXPONENT 89.0f
#define ROUNDER 12582912.0f
#define LOG2_HIGH 0.693359375f
#define LOG2_LOW -2.12194440e-4f
#define SERIES 7
#define ARTANH 8
#define TANH_ONE 9.02f
#else
#define INT int64_t
#define BIAS 1023
#define MANTISSA 52
#define LEAST_EXPONENT -746.0
#define LARGEST_EXPONENT 710.0
#define ROUNDER 6755399441055744.0
#define LOG2_HIGH 6.93147180369123816490e-01
#define LOG2_LOW 1.90821492927058770002e-10
#define SERIES 13
#define ARTANH 18
#define TANH_ONE 19.1
#endif
#ifdef __AVX512F__
#define VECTOR_BYTES 64
#else
#define VECTOR_BYTES 32
#endif
#define LANES ((int)(VECTOR_BYTES / sizeof(REAL)))

typedef REAL real __attribute__((vector_size(VECTOR_BYTES)));
typedef INT bits __attribute__((vector_size(VECTOR_BYTES)));
#define ALL(value) ((real){0} + (REAL)(value))
#define LANEWISE(call) do { for (int l = 0; l < LANES; ++l) y[l] = (call); } while (0)

static inline real choose(bits yes, real a, real b) { return (real)(((bits)a & yes) | ((bits)b & ~yes)); }
static inline bits sign_bit(void) { return ((bits){0} + 1) << (REAL_BITS - 1); }
static inline real magnitude(real x) { return (real)((bits)x & ~sign_bit()); }
static inline real with_sign(real x, real sign) { return (real)((bits)x | ((bits)sign & sign_bit())); }

/* 2^n times, for the n that a finite argument can have; two factors, so that results may be subnormal or infinite. */
static inline real times_power_of_two(real x, bits n) {
  bits half = n >> 1, rest = n - half;
  return x * (real)((half + BIAS) << MANTISSA) * (real)((rest + BIAS) << MANTISSA);
}

/* x = n log 2 + r with |r| <= log(2) / 2 (Cody and Waite, 1980); returns e^r - 1 by its series. */
static inline real reduced(real x, bits *n) {
  real low = ALL(LEAST_EXPONENT), high = ALL(LARGEST_EXPONENT);
  x = choose(x < low, low, x);
  x = choose(x > high, high, x);
  real whole = (x * (REAL)1.44269504088896340736 + (REAL)ROUNDER) - (REAL)ROUNDER;
  real r = (x - whole * (REAL)LOG2_HIGH) - whole * (REAL)LOG2_LOW;
  *n = __builtin_convertvector(choose(whole == whole, whole, ALL(0)), bits);
  real sum = ALL(1) / (REAL)(SERIES + 1);
  real power = r * sum + (REAL)1;
  for (int k = SERIES; k >= 2; --k) power = power * (r * ((REAL)1 / k)) + (REAL)1;
  return r * power;
}

static inline real v_exp(real x) { bits n; real part = reduced(x, &n); return times_power_of_two(part + (REAL)1, n); }
static inline real v_expm1(real x) {
  bits n;
  real part = reduced(x, &n), scale = times_power_of_two(ALL(1), n);
  real large = times_power_of_two(part + (REAL)1, n) - (REAL)1;
  return choose(n > MANTISSA, large, part * scale + (scale - (REAL)1));
}
static inline real v_tanh(real x) {
  real a = magnitude(x), limit = ALL(TANH_ONE);
  a = choose(a > limit, limit, a);
  real e = v_expm1(a + a);
  return with_sign(e / (e + (REAL)2), x);
}
static inline real v_sigmoid(real x) { return (REAL)1 / ((REAL)1 + v_exp(-x)); }
/* log(1 + u) for 0 <= u <= 1: 2 artanh(u / (2 + u)), by its series. */
static inline real v_softplus(real x) {
  real u = v_exp(-magnitude(x)), s = u / (u + (REAL)2), z = s * s, sum = ALL(1) / (REAL)(2 * ARTANH + 1);
  for (int k = ARTANH - 1; k >= 0; --k) sum = sum * z + (REAL)1 / (2 * k + 1);
  return choose(x > ALL(0), x, choose(x == x, ALL(0), x)) + (REAL)2 * s * sum;
}
static inline real v_relu(real x) { return choose(x < ALL(0), ALL(0), x); }
static inline real v_step(real x) { return choose(x > ALL(0), ALL(1), ALL(0)); }
static inline real v_leaky_relu(real x, REAL slope) { return choose(x > ALL(0), x, x * slope); }
static inline real v_leaky_step(real x, REAL slope) { return choose(x > ALL(0), ALL(1), ALL(slope)); }
static inline real v_elu(real x) { return choose(x < ALL(0), v_expm1(x), x); }
static inline real v_elu_slope(real x) { return choose(x < ALL(0), v_exp(x), ALL(1)); }
static inline real v_elu_curvature(real x) { return choose(x < ALL(0), v_exp(x), ALL(0)); }
static inline real v_reciprocal(real x) { return (REAL)1 / x; }
static inline real v_sqrt(real x) { real y; LANEWISE(M(sqrt)(x[l])); return y; }
static inline real v_rsqrt(real x) { return (REAL)1 / v_sqrt(x); }
static inline real v_log(real x) { real y; LANEWISE(M(log)(x[l])); return y; }
static inline real v_log1p(real x) { real y; LANEWISE(M(log1p)(x[l])); return y; }
static inline real v_sin(real x) { real y; LANEWISE(M(sin)(x[l])); return y; }
static inline real v_cos(real x) { real y; LANEWISE(M(cos)(x[l])); return y; }
static inline real v_erf(real x) { real y; LANEWISE(M(erf)(x[l])); return y; }

/* y = x W + b, or x W: tiles of the result stay in registers. */
#define TILE 8
static inline __attribute__((always_inline)) void linear(
    int n, int m, const REAL *restrict w, const REAL *restrict b, const real *restrict x, real *restrict y) {
  int j = 0;
  for (; j + TILE <= m; j += TILE) {
    real sum[TILE];
    for (int t = 0; t < TILE; ++t) sum[t] = ALL(b ? b[j + t] : 0);
    for (int i = 0; i < n; ++i)
      for (int t = 0; t < TILE; ++t) sum[t] += x[i] * w[i * m + j + t];
    for (int t = 0; t < TILE; ++t) y[j + t] = sum[t];
  }
  for (; j + 4 <= m; j += 4) {
    real sum[4];
    for (int t = 0; t < 4; ++t) sum[t] = ALL(b ? b[j + t] : 0);
    for (int i = 0; i < n; ++i)
      for (int t = 0; t < 4; ++t) sum[t] += x[i] * w[i * m + j + t];
    for (int t = 0; t < 4; ++t) y[j + t] = sum[t];
  }
  for (; j < m; ++j) {
    real sum = ALL(b ? b[j] : 0);
    for (int i = 0; i < n; ++i) sum += x[i] * w[i * m + j];
    y[j] = sum;
  }
}

/* Rows from and to arrays as NumPy has them; behind the last row its copies fill the lanes. */
static inline void load(int width, const REAL *from, long rows, real *x) {
  for (int l = 0; l < LANES; ++l) {
    const REAL *row = from + (l < rows ? l : rows - 1) * width;
    for (int i = 0; i < width; ++i) x[i][l] = row[i];
  }
}
static inline void store(int width, const real *y, long rows, REAL *to) {
  long count = rows < LANES ? rows : LANES;
  for (long l = 0; l < count; ++l)
    for (int i = 0; i < width; ++i) to[l * width + i] = y[i][l];
}

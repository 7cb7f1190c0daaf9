/* One row, with the functions of math.h. */
typedef REAL real;
#define ALL(value) ((real)(value))
#define v_exp M(exp)
#define v_expm1 M(expm1)
#define v_log M(log)
#define v_log1p M(log1p)
#define v_tanh M(tanh)
#define v_sqrt M(sqrt)
#define v_sin M(sin)
#define v_cos M(cos)
#define v_erf M(erf)
#define v_sigmoid(x) ((real)1 / ((real)1 + M(exp)(-(x))))
#define v_softplus(x) (M(fmax)((x), 0) + M(log1p)(M(exp)(-M(fabs)(x))))
#define v_relu(x) ((x) < 0 ? 0 : (x))
#define v_step(x) ((x) > 0 ? (real)1 : (real)0)
#define v_leaky_relu(x, slope) ((x) > 0 ? (x) : (x) * (real)(slope))
#define v_leaky_step(x, slope) ((x) > 0 ? (real)1 : (real)(slope))
#define v_elu(x) ((x) < 0 ? M(expm1)(x) : (x))
#define v_elu_slope(x) ((x) < 0 ? M(exp)(x) : (real)1)
#define v_elu_curvature(x) ((x) < 0 ? M(exp)(x) : (real)0)
#define v_reciprocal(x) ((real)1 / (x))
#define v_rsqrt(x) ((real)1 / M(sqrt)(x))

static void linear(int n, int m, const REAL *w, const REAL *b, const real *x, real *y) {
  for (int j = 0; j < m; ++j) y[j] = b ? b[j] : 0;
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < m; ++j) y[j] += x[i] * w[i * m + j];
}

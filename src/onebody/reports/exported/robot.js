// The robot, simulated by MuJoCo, and the policy that it acts with.

/** Bytes from base64. */
function bytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Standard normal number (Box and Muller 1958). */
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

export class Robot {
  /**
   * @param mujoco MuJoCo's module
   * @param about what `reports/export.py` says of the robot
   */
  constructor(mujoco, about) {
    this.mujoco = mujoco;
    this.about = about;
    this.model = compile(mujoco, about.model);
    this.data = new mujoco.MjData(this.model);
    /** seconds per control step */
    this.dt = this.model.opt.timestep * about.frameSkip;
    this.reset();
  }

  /** Begin at an initial state {qpos, qvel}, by default a random one. */
  reset(start) {
    const { qpos, qvel } = this.about.starts;
    const row = Math.floor(Math.random() * qpos.length);
    this.mujoco.mj_resetData(this.model, this.data);
    this.data.qpos.set(start?.qpos ?? qpos[row]);
    this.data.qvel.set(start?.qvel ?? qvel[row]);
    this.mujoco.mj_forward(this.model, this.data);
  }

  /** One control step with an action in [-1, 1]. */
  step(action) {
    const { mujoco, model, data } = this;
    const range = model.actuator_ctrlrange;
    action.forEach((value, i) => {
      const [low, high] = [range[2 * i], range[2 * i + 1]];
      data.ctrl[i] = (high + low) / 2 + ((high - low) / 2) * Math.min(1, Math.max(-1, value));
    });
    for (let i = 0; i < this.about.frameSkip; i++) mujoco.mj_step(model, data);
    // what the observation and the picture need of the new state
    mujoco.mj_fwdPosition(model, data);
    mujoco.mj_sensorPos(model, data);
    mujoco.mj_fwdVelocity(model, data);
    mujoco.mj_sensorVel(model, data);
  }

  /** The observation, in single precision as the policy was trained with. */
  observation() {
    return Float32Array.from(
      this.about.observation.flatMap(({ field, indices, limit }) => {
        const values = this.data[field];
        const cut = (x) => (limit === null ? x : Math.min(limit, Math.max(-limit, x)));
        return indices.map((i) => cut(values[i]));
      }),
    );
  }

  /** Add normal noise to all joint velocities; `deviation`: its standard deviation (m/s, rad/s). */
  push(deviation = 1) {
    const velocity = this.data.qvel;
    for (let i = 0; i < velocity.length; i++) velocity[i] += deviation * normal();
  }
}

/** The model of the MJCF, with the fields that differ from it. */
function compile(mujoco, { xml, files, fields, options }) {
  const stored = new mujoco.MjVFS();
  for (const [name, data] of Object.entries(files)) stored.addBuffer(name, bytes(data));
  const model = mujoco.MjModel.from_xml_string(xml, stored);
  for (const [name, values] of Object.entries(fields)) {
    if (model[name]?.length !== values.length) throw new Error(`the model has another ${name} in this MuJoCo`);
    model[name].set(values);
  }
  for (const [name, value] of Object.entries(options)) {
    if (Array.isArray(value)) model.opt[name].set(value);
    else model.opt[name] = value;
  }
  return model;
}

export class Policy {
  /** @param policy normalisers and layers, arrays as base64 of float32 */
  constructor({ observation, task, layers }) {
    const floats = (text) => new Float32Array(bytes(text).buffer);
    const normalizer = ({ mean, scale }) => ({ mean: floats(mean), scale: floats(scale) });
    this.inputs = [normalizer(observation), normalizer(task)];
    this.layers = layers.map(({ weight, bias }) => ({ weight: floats(weight), bias: floats(bias) }));
  }

  /** The deterministic action: tanh of the first half of the outputs, which are mean and deviation. */
  act(observation, task) {
    let x = [observation, task].flatMap((values, i) => {
      const { mean, scale } = this.inputs[i];
      return Array.from(values, (value, j) => (value - mean[j]) / scale[j]);
    });
    this.layers.forEach((layer, i) => {
      x = affine(x, layer);
      if (i < this.layers.length - 1) x = normedSilu(x);
    });
    return x.slice(0, x.length / 2).map(Math.tanh);
  }
}

function affine(x, { weight, bias }) {
  const outputs = Float64Array.from(bias);
  x.forEach((value, i) => {
    for (let j = 0; j < outputs.length; j++) outputs[j] += value * weight[i * outputs.length + j];
  });
  return Array.from(outputs);
}

/** Layer normalisation, then x · sigmoid(x). */
function normedSilu(x) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const middle = mean(x);
  const deviation = Math.sqrt(mean(x.map((value) => (value - middle) ** 2)) + 1e-6);
  return x.map((value) => (value - middle) / deviation).map((value) => value / (1 + Math.exp(-value)));
}

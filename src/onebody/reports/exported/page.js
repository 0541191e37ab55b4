// The page: the robot acts in real time on the task that the controls say.
//
// `window.onebody` lets the console, and tests, do what the controls do.

import loadMujoco from "mujoco";
import { History, Prediction } from "./charts.js";
import { Policy, Robot } from "./robot.js";
import { Scene } from "./scene.js";

/** s; time that the robot catches up with, for example after the page was in the background */
const LATE = 0.1;
/** s; time over which what is reached is averaged */
const AVERAGED = 1;

const about = JSON.parse(document.getElementById("about").textContent);
const part = (id) => document.getElementById(id);

const wasmBinary = await window.stored(part("mujoco.wasm"));
const mujoco = await loadMujoco({ wasmBinary, locateFile: (name) => name });
const robot = new Robot(mujoco, about);
const policy = new Policy(about.policy);
const scene = new Scene(part("view"), robot);

let task = Float32Array.from(about.task.first);
let [seconds, playing, frames] = [0, true, 0];
/** what the last control steps have achieved of each number of the task */
let achieved = [];

const range = about.task.sliders?.[0];
const history = about.achieved && range && range.low < range.high && new History(part("history"), about.task.names[0], range);
const prediction = about.curve && new Prediction(part("prediction"), about.task.names[0], about.curve, about.training);
part("history-figure").hidden = !history;
part("prediction-figure").hidden = !prediction;

const product = (matrix, x) => matrix.map((row) => row.reduce((sum, value, i) => sum + value * x[i], 0));

function step() {
  const before = robot.observation();
  robot.step(policy.act(before, task));
  const after = robot.observation();
  seconds += robot.dt;
  if (about.achieved) {
    const old = product(about.achieved.before, before);
    achieved.push(product(about.achieved.after, after).map((value, i) => value + old[i]));
    achieved = achieved.slice(-Math.round(AVERAGED / robot.dt));
    history?.add(seconds, achieved.at(-1)[0], task[0]);
  }
  if (hasEnded(after)) robot.reset();
}

function hasEnded(observation) {
  if (!observation.every(Number.isFinite)) return true;
  if (!about.ends) return false;
  const { column, low, high } = about.ends;
  return (low !== null && observation[column] < low) || (high !== null && observation[column] > high);
}

/** What was reached of each number of the task, on average. */
function reached() {
  return task.length && achieved.length
    ? Array.from(task, (_, i) => achieved.reduce((sum, row) => sum + row[i], 0) / achieved.length)
    : [];
}

/** index of a number of the task, and the element that shows what is reached of it */
const readouts = [];

function showReached() {
  const values = reached();
  for (const [i, readout] of readouts) {
    readout.textContent = i in values ? values[i].toFixed(2) : "";
  }
  history?.show();
}

function ask(values) {
  task = Float32Array.from(values);
  const lines = [];
  if (prediction) {
    const { mean, low, high, novelty } = prediction.show(task[0]);
    const between = low === undefined ? "" : ` (${low.toFixed(1)} to ${high.toFixed(1)})`;
    lines.push(`predicted return ${mean.toFixed(1)}${between}`);
    if (novelty > about.maxNovelty) {
      lines.push("the models disagree about what this policy does, so the prediction may be wrong");
    }
  }
  const { training } = about;
  if (training && task.some((value, i) => value < training.low[i] - 1e-6 || value > training.high[i] + 1e-6)) {
    lines.push("outside the space that training sampled tasks from");
  }
  part("status").textContent = lines.join("; ");
}

/** An element with properties and children. */
function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** A slider with its value beside its name, and what is reached below it. */
function addSlider({ name, low, high, marks }, value, change, digits = 2, index = 0) {
  const shown = make("output");
  const range = { type: "range", min: low, max: high, step: digits ? (high - low) / 150 : 1, value };
  const slider = make("input", { ...range, ariaLabel: name });
  const show = () => {
    shown.textContent = Number(slider.value).toFixed(digits);
  };
  slider.addEventListener("input", () => {
    show();
    change(Number(slider.value));
  });
  show();
  const control = make("div", { className: "control" }, make("label", {}, name, shown), slider);
  if (marks) {
    const ends = make("div", { className: "marks" });
    for (const mark of marks) {
      const text = make("span", { textContent: Number(mark.toPrecision(6)) });
      text.style.left = `${(100 * (mark - low)) / (high - low)}%`;
      ends.append(text);
    }
    control.append(ends);
  }
  if (about.achieved && digits) {
    const readout = make("output");
    readouts.push([index, readout]);
    control.append(make("div", { className: "reach" }, "reached, mean of the last second", readout));
  }
  part("controls").append(control);
}

function addControls() {
  const { names, first, sliders, angle, choices } = about.task;
  if (sliders) {
    sliders.forEach((slider, i) => {
      if (slider.low < slider.high) addSlider(slider, first[i], (value) => ask(task.with(i, value)), 2, i);
    });
  } else if (angle) {
    const degrees = Math.round((180 / Math.PI) * Math.atan2(first[1], first[0]) + 360) % 360;
    const turn = (value) => ask([Math.cos((Math.PI / 180) * value), Math.sin((Math.PI / 180) * value)]);
    addSlider({ name: "direction (°)", low: 0, high: angle }, degrees, turn, 0);
  } else if (choices.length) {
    const name = names.join(", ");
    const options = choices.map((choice, i) => make("option", { value: i, textContent: choice.join(", ") }));
    const menu = make("select", { ariaLabel: name }, ...options);
    menu.value = choices.findIndex((choice) => choice.every((value, i) => Math.fround(value) === first[i]));
    menu.addEventListener("change", () => ask(choices[menu.value]));
    part("controls").append(make("div", { className: "control" }, make("label", {}, name, menu)));
  }
}

let due = 0;
let last = performance.now();

function frame(now) {
  due = Math.min(due + (now - last) / 1000, Math.max(LATE, robot.dt));
  last = now;
  for (; playing && due >= robot.dt; due -= robot.dt) step();
  scene.show();
  if (frames++ % 6 === 0) showReached();
  requestAnimationFrame(frame);
}

part("body").textContent = about.body;
part("title").textContent = `${about.family}: ${about.title}`;
const { onebody, MuJoCo } = about.versions;
part("versions").textContent =
  `Physics: MuJoCo ${mujoco.mj_versionString()} in WebAssembly. This page was written by onebody ${onebody} with MuJoCo ${MuJoCo}.`;
part("push").addEventListener("click", () => robot.push());
part("reset").addEventListener("click", () => robot.reset());
addControls();
ask(task);

window.onebody = {
  /** Take n control steps at once; the page takes no further steps by itself until `play`. */
  step(n = 1) {
    playing = false;
    for (let i = 0; i < n; i++) step();
    showReached();
  },
  play: () => {
    playing = true;
  },
  reset: (start) => robot.reset(start),
  observation: () => Array.from(robot.observation()),
  ask,
  reached,
};
part("page").className = "ready";
requestAnimationFrame(frame);

// The picture of the robot: a three.js mesh per geom of its model, on a floor with a grid of one metre.

import * as THREE from "three";
import { OrbitControls } from "orbit";

/** m; edge of the floor that is drawn around the robot, as MuJoCo's planes have no end */
const FLOOR = 80;
/** geoms of MuJoCo's higher groups are not shown, as in its own viewer */
const SHOWN_GROUPS = 3;

export class Scene {
  constructor(canvas, robot) {
    this.robot = robot;
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true });
    this.renderer.shadowMap.enabled = true;
    this.scene = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(40, 1, 0.05, 200);
    this.camera.up.set(0, 0, 1);
    this.light();
    this.geoms = Array.from({ length: robot.model.ngeom }, (_, i) => this.addGeom(i)).filter(Boolean);
    this.place(canvas);
    this.resize();
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    this.paint();
  }

  light() {
    this.sun = new THREE.DirectionalLight(0xffffff, 2.2);
    this.sun.castShadow = true;
    this.sun.shadow.mapSize.set(1024, 1024);
    this.sun.shadow.normalBias = 0.02;
    this.scene.add(new THREE.HemisphereLight(0xffffff, 0x8d8d99, 1.6), this.sun, this.sun.target);
  }

  /** Place the camera beside the robot, and turn it with mouse or fingers. */
  place(canvas) {
    const size = this.size();
    this.reach = size;
    this.middle = this.root();
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enablePan = false;
    this.controls.maxPolarAngle = 0.49 * Math.PI;
    [this.controls.minDistance, this.controls.maxDistance] = [size, 12 * size];
    this.controls.target.copy(this.middle);
    this.camera.position.copy(this.middle).add(new THREE.Vector3(0.5, -3, 0.9).multiplyScalar(1.35 * size));
    const shadow = this.sun.shadow.camera;
    [shadow.left, shadow.right, shadow.top, shadow.bottom] = [-2, 2, 2, -2].map((x) => x * size);
    this.scene.fog = new THREE.Fog(0, 9 * size, 26 * size);
  }

  /** Greatest distance (m) of a part of the robot from its first body. */
  size() {
    const { model, data } = this.robot;
    const root = this.root();
    let size = 0;
    for (let i = 0; i < model.ngeom; i++) {
      if (model.geom_bodyid[i] === 0) continue;
      const away = new THREE.Vector3(...data.geom_xpos.slice(3 * i, 3 * i + 3)).distanceTo(root);
      size = Math.max(size, away + model.geom_rbound[i]);
    }
    return size || 1;
  }

  root() {
    return new THREE.Vector3(...this.robot.data.xpos.slice(3, 6));
  }

  addGeom(i) {
    const { model, mujoco } = this.robot;
    if (model.geom_group[i] >= SHOWN_GROUPS) return null;
    const type = model.geom_type[i];
    const isFloor = type === mujoco.mjtGeom.mjGEOM_PLANE.value;
    const shape = isFloor ? new THREE.PlaneGeometry(FLOOR, FLOOR) : this.shape(i, type);
    const material = model.geom_matid[i];
    const [r, g, b, a] = material < 0 ? model.geom_rgba.slice(4 * i, 4 * i + 4) : model.mat_rgba.slice(4 * material, 4 * material + 4);
    if (!shape || a === 0) return null;
    const color = new THREE.Color().setRGB(r, g, b, THREE.SRGBColorSpace);
    const paint = isFloor
      ? new THREE.MeshStandardMaterial({ map: grid(this.renderer), roughness: 1 })
      : new THREE.MeshStandardMaterial({ color, roughness: 0.55, transparent: a < 1, opacity: a });
    const mesh = new THREE.Mesh(shape, paint);
    [mesh.castShadow, mesh.receiveShadow, mesh.matrixAutoUpdate] = [!isFloor, true, false];
    this.scene.add(mesh);
    if (isFloor) this.floors = [...(this.floors ?? []), paint];
    return { mesh, i, isFloor };
  }

  /** Shape of a geom in its own frame, whose long axis is z; null if it is of another kind. */
  shape(i, type) {
    const { model, mujoco } = this.robot;
    const [x, y, z] = model.geom_size.slice(3 * i, 3 * i + 3);
    switch (type) {
      case mujoco.mjtGeom.mjGEOM_SPHERE.value:
        return new THREE.SphereGeometry(x, 32, 24);
      case mujoco.mjtGeom.mjGEOM_CAPSULE.value:
        return new THREE.CapsuleGeometry(x, 2 * y, 12, 32).rotateX(Math.PI / 2);
      case mujoco.mjtGeom.mjGEOM_ELLIPSOID.value:
        return new THREE.SphereGeometry(1, 32, 24).scale(x, y, z);
      case mujoco.mjtGeom.mjGEOM_CYLINDER.value:
        return new THREE.CylinderGeometry(x, x, 2 * y, 32).rotateX(Math.PI / 2);
      case mujoco.mjtGeom.mjGEOM_BOX.value:
        return new THREE.BoxGeometry(2 * x, 2 * y, 2 * z);
      case mujoco.mjtGeom.mjGEOM_MESH.value:
        return this.surface(model.geom_dataid[i]);
      default:
        return null;
    }
  }

  surface(mesh) {
    const { model } = this.robot;
    const part = (values, first, count) => values.slice(3 * first, 3 * (first + count));
    const vertices = part(model.mesh_vert, model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]);
    const faces = part(model.mesh_face, model.mesh_faceadr[mesh], model.mesh_facenum[mesh]);
    const shape = new THREE.BufferGeometry();
    shape.setAttribute("position", new THREE.BufferAttribute(Float32Array.from(vertices), 3));
    shape.setIndex(Array.from(faces));
    const flat = shape.toNonIndexed(); // an edge between faces is sharp
    flat.computeVertexNormals();
    return flat;
  }

  /** Colours of the page. */
  paint() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => new THREE.Color(style.getPropertyValue(name).trim());
    this.scene.background = color("--sky");
    this.scene.fog.color = color("--sky");
    for (const floor of this.floors ?? []) floor.color = color("--floor");
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.renderer.domElement;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(2, devicePixelRatio));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
  }

  /** Draw the robot as it is; the camera goes with it. */
  show() {
    const { data } = this.robot;
    const moved = this.root().sub(this.middle);
    moved.z *= 0.05; // it does not shake with each step
    this.middle.add(moved);
    this.camera.position.add(moved);
    this.controls.target.copy(this.middle);
    this.controls.update();
    this.sun.target.position.copy(this.middle);
    this.sun.position.copy(this.middle).add(new THREE.Vector3(-0.8, -1.2, 3).multiplyScalar(this.reach));
    const [positions, axes] = [data.geom_xpos, data.geom_xmat];
    for (const { mesh, i, isFloor } of this.geoms) {
      const [p, m] = [positions.subarray(3 * i, 3 * i + 3), axes.subarray(9 * i, 9 * i + 9)];
      mesh.matrix.set(m[0], m[1], m[2], p[0], m[3], m[4], m[5], p[1], m[6], m[7], m[8], p[2], 0, 0, 0, 1);
      if (isFloor) mesh.matrix.multiply(this.underRobot(mesh.matrix));
    }
    this.renderer.render(this.scene, this.camera);
  }

  /** Moves a floor within its plane by whole cells, so that it is below the robot. */
  underRobot(frame) {
    const { x, y } = this.middle.clone().applyMatrix4(frame.clone().invert());
    return new THREE.Matrix4().makeTranslation(Math.round(x / 2) * 2, Math.round(y / 2) * 2, 0);
  }
}

/** A checkerboard of squares of one metre with thin lines. */
function grid(renderer) {
  const canvas = Object.assign(document.createElement("canvas"), { width: 256, height: 256 });
  const context = canvas.getContext("2d");
  const fill = (color, ...box) => {
    context.fillStyle = color;
    context.fillRect(...box);
  };
  fill("#ffffff", 0, 0, 256, 256);
  fill("#f0f0f0", 0, 0, 128, 128);
  fill("#f0f0f0", 128, 128, 128, 128);
  for (const at of [0, 128]) {
    fill("#cfcfcf", at, 0, 2, 256);
    fill("#cfcfcf", 0, at, 256, 2);
  }
  const texture = new THREE.CanvasTexture(canvas);
  [texture.wrapS, texture.wrapT] = [THREE.RepeatWrapping, THREE.RepeatWrapping];
  texture.repeat.set(FLOOR / 2, FLOOR / 2);
  texture.anisotropy = renderer.capabilities.getMaxAnisotropy();
  texture.colorSpace = THREE.SRGBColorSpace;
  return texture;
}

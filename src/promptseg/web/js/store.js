/**
 * A value that changes only as a whole, with undo and redo.
 *
 * @template T
 */
export class Store {
  /** Earlier values that are kept. */
  static DEPTH = 200;

  #past = [];
  #future = [];
  #value;
  #burst = null;
  #listeners = new Set();

  /** @param {T} value immutable */
  constructor(value) {
    this.#value = value;
  }

  /** @returns {T} */
  get value() {
    return this.#value;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  /**
   * Take a new value; the old one can be had back by `undo`.
   *
   * @param {T} value
   * @param {any} burst changes that follow each other under one name, such as those of a slider that is
   *   dragged, are undone as one
   */
  commit(value, burst = null) {
    if (value === this.#value) return;
    if (burst === null || burst !== this.#burst) {
      this.#past.push(this.#value);
      if (this.#past.length > Store.DEPTH) this.#past.shift();
    }
    this.#burst = burst;
    this.#future = [];
    this.#set(value);
  }

  /** Take a new value that is not worth a step of its own, such as a selection. @param {T} value */
  replace(value) {
    this.#set(value);
  }

  /** End a burst: the next change is undone on its own. */
  endBurst() {
    this.#burst = null;
  }

  undo() {
    if (!this.canUndo) return;
    this.#burst = null;
    this.#future.push(this.#value);
    this.#set(this.#past.pop());
  }

  redo() {
    if (!this.canRedo) return;
    this.#burst = null;
    this.#past.push(this.#value);
    this.#set(this.#future.pop());
  }

  /** @param {(value: T) => void} listener called after every change */
  subscribe(listener) {
    this.#listeners.add(listener);
  }

  #set(value) {
    this.#value = value;
    for (const listener of this.#listeners) listener(value);
  }
}

/** The texts of the page, one JSON file a language. */

import { setText } from "./dom.js";

const LANGUAGES = ["en", "de"];
const KEY = "promptseg.language";

let texts = {};
let plurals = new Intl.PluralRules("en");
let numbers = new Intl.NumberFormat("en");

/** The language that was chosen before, else the browser's, else English. */
export function preferredLanguage() {
  const wished = [localStorage.getItem(KEY), ...navigator.languages].filter(Boolean);
  return wished.map((tag) => tag.slice(0, 2)).find((tag) => LANGUAGES.includes(tag)) ?? "en";
}

/** Load a language and write all fixed texts of the page in it. @param {string} language */
export async function useLanguage(language) {
  const response = await fetch(new URL(`locales/${language}.json`, document.baseURI));
  texts = await response.json();
  plurals = new Intl.PluralRules(language);
  numbers = new Intl.NumberFormat(language);
  document.documentElement.lang = language;
  writeFixedTexts();
}

/** @param {string} language kept for the next visit */
export function rememberLanguage(language) {
  localStorage.setItem(KEY, language);
}

/**
 * Give a text.
 *
 * @param {string} key
 * @param {Object<string, string|number>} [params] for the places in braces; `count` also chooses the plural
 */
export function t(key, params = {}) {
  const entry = texts[key] ?? key;
  const text = typeof entry === "string" ? entry : (entry[plurals.select(params.count)] ?? entry.other);
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = params[name];
    return typeof value === "number" ? numbers.format(value) : String(value ?? "");
  });
}

/** Write a share as a percentage. @param {number} share */
export function percent(share) {
  return t("percent", { value: Math.round(share * 100) });
}

/** Write a duration in milliseconds, or from one second on in seconds. @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1) return t("duration.ms", { value: Math.round(seconds * 1000) });
  return t("duration.s", { value: Math.round(seconds * 10) / 10 });
}

function writeFixedTexts() {
  for (const element of document.querySelectorAll("[data-i18n]")) setText(element, t(element.dataset.i18n));
  for (const element of document.querySelectorAll("[data-i18n-placeholder]")) {
    element.placeholder = t(element.dataset.i18nPlaceholder);
  }
  for (const element of document.querySelectorAll("[data-i18n-label]")) {
    const text = t(element.dataset.i18nLabel);
    element.setAttribute("aria-label", text);
    if (element.tagName === "BUTTON") element.title = text + keyHint(element);
  }
}

function keyHint(element) {
  const keys = element.getAttribute("aria-keyshortcuts");
  return keys ? ` (${keys.replaceAll("Control", t("key.control"))})` : "";
}
